"""The thread that accepts connections: it answers health checks, and hands over those that have sent a request.

So what says nothing, too little or too much never comes near those that are answered, and none of these can hold a
health check up. The head of a request is looked at and left where it is: the event loop reads it again.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Callable, Container, Iterable
from contextlib import suppress

from exporter.runtime import logs
from exporter.runtime.rate_limit import RateLimiter
from exporter.web.heads import HEAD_BYTES_MAX, TOO_SLOW, Check, Head, Refusal, examined
from exporter.web.hosts import Origins, origin
from exporter.web.limits import CONNECTIONS_MIN, ClientLimits, Eviction
from exporter.web.pacing import Pace
from exporter.web.responses import Settled, short, wire

SWEEP_SECONDS = 0.5
# Between two looks at those that are there already.
ACCEPTED_MAX = 64
# What the kernel keeps of a connection: a request that nobody has read, twice the size of a head, and an answer that
# its reader has not. By itself it would keep megabytes; it doubles these figures.
RECEIVE_BYTES, SEND_BYTES = 32 * 1024, 208 * 1024
# Without descriptors new connections wait so long in the kernel's queue.
PAUSE_SECONDS = 0.05
# When they are still missing so soon after some were given up, others have taken them.
RELIEVED_SECONDS = 0.5
BRIEFLY_ACCEPTED, BRIEF_SECONDS = 16, 0.01
WARNINGS_PER_SECOND = 1 / 60
# What a refused client still sends is read and forgotten for so long: otherwise it would not read why.
LINGER_SECONDS = 1.0
LINGER_BYTES = 64 * 1024
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_ARRIVALS = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_ENDS = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

log = logs.logger("web")


class _Client:
    """A connection that has not sent a whole head, or was refused and lingers; `deadline` is monotonic."""

    __slots__ = ("deadline", "is_refused", "is_watched", "origin", "socket")

    def __init__(self, client: socket.socket, origin: str, deadline: float) -> None:
        self.socket = client
        self.origin = origin
        self.deadline = deadline
        self.is_refused = False
        self.is_watched = False


class Acceptor:
    """Owns the listener, and runs in a thread of its own until it is stopped.

    `check` answers a health check of one of the `paths`, at once. `hand_over` takes a connection that has sent a
    request, `relieve` is to close some of these soon. `on_answer` and `on_eviction` learn what happens here.
    """

    def __init__(
        self,
        listener: socket.socket,
        limits: ClientLimits,
        paths: Container[str],
        *,
        check: Callable[[Check], Settled],
        hand_over: Callable[[socket.socket, str], None],
        relieve: Callable[[], None],
        on_answer: Callable[[int], None],
        on_eviction: Callable[[Eviction], None],
    ) -> None:
        listener.setblocking(False)
        # Those that are accepted inherit it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        self._listener = listener
        self._limits = limits
        self._paths = paths
        self._check = check
        self._hand_over = hand_over
        self._relieve = relieve
        self._on_answer = on_answer
        self._on_eviction = on_eviction
        # By descriptor, and by age: all have the same time, so the first is also the first that is late.
        self._waiting: dict[int, _Client] = {}
        self._refused: dict[int, _Client] = {}
        self._origins = Origins()
        self._warnings = RateLimiter(1, WARNINGS_PER_SECOND)
        self._paused_until = self._relieved_until = 0.0
        self._reserve = socket.socket()
        self._stop, self._stopped = socket.socketpair()
        self._epoll = select.epoll()
        self._epoll.register(self._stopped, select.EPOLLIN)
        self._epoll.register(self._listener, select.EPOLLIN)

    def stop(self) -> None:
        """End `run` soon; from any thread."""
        self._stop.close()

    def run(self) -> None:
        """Accept connections and look at them until stopped; then close all that are still here."""
        pace = Pace()
        with self._stopped, self._listener, self._reserve, self._epoll:
            while self._turn():
                pace.rest()
        for client in (*self._waiting.values(), *self._refused.values()):
            client.socket.close()

    def _turn(self) -> bool:
        """Do what has come up; return whether to go on."""
        for descriptor, event in self._epoll.poll(PAUSE_SECONDS if self._paused_until else SWEEP_SECONDS):
            if descriptor == self._stopped.fileno():
                return False
            if descriptor == self._listener.fileno():
                self._accept()
            elif client := self._waiting.get(descriptor) or self._refused.get(descriptor):
                self._look(client, has_ended=bool(event & _ENDS))
        self._sweep(time.monotonic())
        return True

    def _accept(self) -> None:
        for _ in range(ACCEPTED_MAX):
            try:
                accepted, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    return self._pause(error)
                continue  # the client has gone
            if len(self._waiting) >= self._limits.connections:
                self._evict()
            client = _Client(accepted, origin(address[0]), time.monotonic() + self._limits.request_seconds)
            self._waiting[accepted.fileno()] = client
            self._origins.add(client.origin)
            # Most have sent their request by now, and need not be watched.
            self._look(client, has_ended=False)

    def _pause(self, error: OSError) -> None:
        """Without descriptors: close who has waited longest, or accept none until some of the others are closed."""
        if len(self._waiting) >= CONNECTIONS_MIN:
            return self._evict()
        now = time.monotonic()
        if now < self._relieved_until:
            self._accept_briefly()
        self._relieve()
        self._epoll.unregister(self._listener)
        self._paused_until, self._relieved_until = now + PAUSE_SECONDS, now + RELIEVED_SECONDS
        if (suppressed := self._warnings.admit("accept", int(now * 1000))) is not None:
            log.warning("new connections have to wait", extra={"error": error.strerror, "suppressed": suppressed})

    def _accept_briefly(self) -> None:
        """Accept some, one after the other, with the descriptor that is kept for this, and answer them at once."""
        self._reserve.close()
        with suppress(OSError):  # nobody waits, or others have taken the descriptor
            for _ in range(BRIEFLY_ACCEPTED):
                with self._listener.accept()[0] as accepted, suppress(TimeoutError):
                    accepted.settimeout(BRIEF_SECONDS)
                    found = examined(accepted.recv(HEAD_BYTES_MAX + 1), self._paths, is_all=True)
                    answer = self._check(found) if isinstance(found, Check) else short("no descriptors are left", 503)
                    self._send(_Client(accepted, "", 0.0), answer)
        with suppress(OSError):
            self._reserve = socket.socket()

    def _look(self, client: _Client, *, has_ended: bool) -> None:
        """See what a client has sent, and do what it asks for."""
        try:
            if client.is_refused:
                if not client.socket.recv(LINGER_BYTES, socket.MSG_DONTWAIT):
                    self._close(client)
                return
            head = client.socket.recv(HEAD_BYTES_MAX + 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return self._health(client)
        except OSError:
            return self._close(client)
        self._decide(client, examined(head, self._paths, is_all=has_ended)) if head else self._close(client)

    def _decide(self, client: _Client, found: Head | Check | Refusal) -> None:
        if found is Head.INCOMPLETE:
            self._health(client)
        elif isinstance(found, Check):
            client.socket.recv(found.length)
            self._send(client, self._check(found), with_body=not found.is_head)
            self._close(client)
        elif isinstance(found, Refusal):
            self._refuse(client, found)
        else:
            self._forget(client)
            self._hand_over(client.socket, client.origin)

    def _refuse(self, client: _Client, why: Refusal) -> None:
        """Say why, and linger until the client has read it."""
        self._forget(client)
        self._send(client, short(why.text, why.status))
        client.is_refused = True
        client.deadline = time.monotonic() + LINGER_SECONDS
        if len(self._refused) >= self._limits.connections:
            self._close(next(iter(self._refused.values())))
        self._refused[client.socket.fileno()] = client
        try:
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return self._close(client)
        self._health(client)

    def _send(self, client: _Client, answer: Settled, *, with_body: bool = True) -> None:
        self._on_answer(answer.status)
        try:
            # It is smaller than what the kernel takes at once.
            client.socket.send(wire(answer, with_body), socket.MSG_DONTWAIT)
        except OSError:
            return  # the client has gone

    def _sweep(self, now: float) -> None:
        """Close those whose time is over, and end a pause."""
        while (client := _first(self._waiting.values())) and client.deadline <= now:
            self._on_eviction(Eviction.SLOW)
            self._expire(client)
        while (client := _first(self._refused.values())) and client.deadline <= now:
            self._close(client)
        if self._paused_until and self._paused_until <= now:
            self._paused_until = 0.0
            self._epoll.register(self._listener, select.EPOLLIN)

    def _expire(self, client: _Client) -> None:
        """Close a client that was too slow, and tell it if it has begun to speak."""
        try:
            has_begun = bool(client.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            has_begun = False
        self._refuse(client, TOO_SLOW) if has_begun else self._close(client)

    def _evict(self) -> None:
        """Close the connection that has waited longest, of the origin with most of them, unless it has sent a request.

        What it sent since the last look is not known yet: many are accepted at a time, and the thread rests in between.
        """
        crowded = self._origins.most()
        oldest = next(client for client in self._waiting.values() if client.origin == crowded)
        self._look(oldest, has_ended=False)
        if self._waiting.get(oldest.socket.fileno()) is oldest:
            self._on_eviction(Eviction.CONNECTIONS)
            self._close(oldest)

    def _health(self, client: _Client) -> None:
        if not client.is_watched:
            self._epoll.register(client.socket, _ARRIVALS)
            client.is_watched = True

    def _forget(self, client: _Client) -> None:
        if client.is_watched:
            self._epoll.unregister(client.socket)
            client.is_watched = False
        self._remove(client)

    def _close(self, client: _Client) -> None:
        # The kernel forgets what was watched.
        self._remove(client)
        client.socket.close()

    def _remove(self, client: _Client) -> None:
        descriptor = client.socket.fileno()
        self._refused.pop(descriptor, None)
        if self._waiting.pop(descriptor, None) is not None:
            self._origins.remove(client.origin)


def _first(clients: Iterable[_Client]) -> _Client | None:
    return next(iter(clients), None)
