"""The thread that accepts connections, answers health checks, and hands over connections that have sent a request.

Connections that send nothing, too little or too much therefore never affect active ones, and these never delay a health
check. The head of a request is only peeked at: the event loop reads it again.

The kernel drops what exceeds its queue, and a client whose connection was dropped tries again after a second. So what
each connection costs this thread decides how large a flood may be until it delays others.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Container, Iterable
from contextlib import suppress

from exporter.runtime import logs
from exporter.runtime.rate_limit import RateLimiter
from exporter.web.counts import Crowds
from exporter.web.flows import Flow, flow_of, hello_flow
from exporter.web.heads import HEAD_BYTES_MAX, TOO_SLOW, Head, HealthCheck, Refusal, classify_head, classify_record
from exporter.web.hosts import network_of
from exporter.web.limits import CONNECTIONS_MIN, ClientLimits, Eviction
from exporter.web.prompt_sockets import accept_some, ready, unwatch, watch
from exporter.web.responses import CompleteResponse, text_response, to_bytes
from exporter.web.throttle import CpuThrottle

SWEEP_SECONDS = 0.5
# Connections that are accepted before existing ones have a turn, and existing ones that have one before others are.
ACCEPTED_MAX, RECEIVED_MAX = 64, 32
# Buffers of a connection in the kernel: for requests, twice the size of a head, and for responses. The default would
# be megabytes; the kernel doubles these figures.
RECEIVE_BYTES, SEND_BYTES = 32 * 1024, 208 * 1024
# Without descriptors, new connections wait for so long in the kernel's queue.
PAUSE_SECONDS = 0.05
# If descriptors are missing again so soon after connections were closed, other threads have used them.
CLOSED_RECENTLY_SECONDS = 0.5
BRIEFLY_ACCEPTED, BRIEF_SECONDS = 16, 0.01
WARNINGS_PER_SECOND = 1 / 60
# Bytes of a refused client are read and dropped for so long; a reset would prevent it from reading the response.
LINGER_SECONDS = 1.0
LINGER_BYTES = 64 * 1024
_ARRIVALS = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_ENDS = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

log = logs.logger("web")


class _Client:
    """A connection that has not sent a complete head, or was refused and lingers; `deadline` is monotonic."""

    __slots__ = ("deadline", "is_refused", "is_watched", "network", "socket")

    def __init__(self, client: socket.socket, network: str, deadline: float) -> None:
        self.socket = client
        self.network = network
        self.deadline = deadline
        self.is_refused = False
        self.is_watched = False


class Acceptor:
    """Owner of the listener, which runs in a thread of its own until it is stopped.

    `check` returns the response to a health check of one of the `paths`, at once, or None if it must be handled as
    other requests. `hand_over` takes a connection that has sent a request, or with `has_tls` the first message of a
    handshake, its flow, and whether it has still to send the body of the request; `on_exhausted` closes some of
    these soon, because no descriptors are left. `on_response` and `on_eviction` count what happens here.
    """

    def __init__(
        self,
        listener: socket.socket,
        limits: ClientLimits,
        paths: Container[str],
        *,
        check: Callable[[HealthCheck], CompleteResponse | None],
        hand_over: Callable[[socket.socket, Flow, bool], None],
        on_exhausted: Callable[[], None],
        on_response: Callable[[int], None],
        on_eviction: Callable[[Eviction], None],
        has_tls: bool = False,
    ) -> None:
        listener.setblocking(False)
        # Accepted sockets inherit the sizes.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        self._listener = listener
        self._limits = limits
        self._paths = paths
        self._has_tls = has_tls
        self._check = check
        self._hand_over = hand_over
        self._on_exhausted = on_exhausted
        self._on_response = on_response
        self._on_eviction = on_eviction
        # By descriptor, ordered by age: all have the same time limit, so the first is the first to exceed it.
        self._waiting: dict[int, _Client] = {}
        self._refused: dict[int, _Client] = {}
        self._networks = Crowds[str, _Client]()
        self._warnings = RateLimiter(1, WARNINGS_PER_SECOND)
        self._paused_until = self._closed_recently_until = 0.0
        self._reserve = socket.socket()
        self._stop, self._stopped = socket.socketpair()
        self._epoll = select.epoll()
        self._epoll.register(self._stopped, select.EPOLLIN)
        self._epoll.register(self._listener, select.EPOLLIN)

    def stop(self) -> None:
        """End `run` soon; callable from any thread."""
        self._stop.close()

    def run(self) -> None:
        """Accept connections and read their heads until stopped; then close those that remain."""
        throttle = CpuThrottle()
        with self._stopped, self._listener, self._reserve, self._epoll:
            while self._turn():
                throttle.pause()
        for client in (*self._waiting.values(), *self._refused.values()):
            client.socket.close()

    def _turn(self) -> bool:
        """Handle pending events; return false when stopped."""
        # In a flood there always are events, and to wait for them, however short, would give the interpreter up.
        events = ready(self._epoll) or dict(self._epoll.poll(PAUSE_SECONDS if self._paused_until else SWEEP_SECONDS))
        if self._stopped.fileno() in events:
            return False
        arrived = [(client, event) for descriptor, event in events.items() if (client := self._client(descriptor))]
        # Thousands of clients that send little by little hold up no new one.
        for some in range(0, len(arrived) + 1, RECEIVED_MAX):
            if not self._paused_until:
                self._accept()
            for client, event in arrived[some : some + RECEIVED_MAX]:
                # Its descriptor may be another one's meanwhile.
                if self._client(client.socket.fileno()) is client:
                    self._receive(client, has_ended=bool(event & _ENDS))
        self._sweep(time.monotonic())
        return True

    def _client(self, descriptor: int) -> _Client | None:
        return self._waiting.get(descriptor) or self._refused.get(descriptor)

    def _accept(self) -> None:
        try:
            for accepted, address in accept_some(self._listener, ACCEPTED_MAX):
                # Most clients have already sent their request, and need not wait.
                deadline = time.monotonic() + self._limits.request_seconds
                self._receive(_Client(accepted, network_of(address), deadline), has_ended=False)
        except OSError as error:
            self._pause(error)

    def _pause(self, error: OSError) -> None:
        """Without descriptors: close the oldest connection, or pause accepting until some of the others are closed."""
        if len(self._waiting) >= CONNECTIONS_MIN:
            return self._evict()
        now = time.monotonic()
        if now < self._closed_recently_until and not self._has_tls:
            self._accept_briefly()
        self._on_exhausted()
        self._epoll.unregister(self._listener)
        self._paused_until, self._closed_recently_until = now + PAUSE_SECONDS, now + CLOSED_RECENTLY_SECONDS
        if (suppressed := self._warnings.admit("accept", int(now * 1000))) is not None:
            log.warning("new connections are delayed", extra={"error": error.strerror, "suppressed": suppressed})

    def _accept_briefly(self) -> None:
        """Accept some connections one at a time, with the reserved descriptor, and respond at once."""
        self._reserve.close()
        with suppress(OSError):  # no connection waits, or another thread has used the descriptor
            for _ in range(BRIEFLY_ACCEPTED):
                with self._listener.accept()[0] as accepted, suppress(TimeoutError):
                    accepted.settimeout(BRIEF_SECONDS)
                    head = self._classify(accepted.recv(HEAD_BYTES_MAX + 1), is_final=True)
                    response = self._check(head) if isinstance(head, HealthCheck) else None
                    refusal = text_response("no file descriptors are left", 503)
                    self._send(_Client(accepted, "", 0.0), response or refusal)
        with suppress(OSError):
            self._reserve = socket.socket()

    def _receive(self, client: _Client, *, has_ended: bool) -> None:
        """Read what a client has sent, and act on it."""
        try:
            if client.is_refused:
                if not client.socket.recv(LINGER_BYTES, socket.MSG_DONTWAIT):
                    self._close(client)
                return
            head = client.socket.recv(HEAD_BYTES_MAX + 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return self._wait(client)
        except OSError:
            return self._close(client)
        self._handle_head(client, head, self._classify(head, is_final=has_ended)) if head else self._close(client)

    def _classify(self, head: bytes, *, is_final: bool) -> Head | HealthCheck | Refusal:
        if self._has_tls:
            return classify_record(head, is_final=is_final)
        return classify_head(head, self._paths, is_final=is_final)

    def _handle_head(self, client: _Client, head: bytes, found: Head | HealthCheck | Refusal) -> None:
        if found is Head.INCOMPLETE:
            self._wait(client)
        elif isinstance(found, HealthCheck) and (response := self._check(found)) is not None:
            client.socket.recv(found.length)
            self._send(client, response, with_body=not found.is_head)
            self._close(client)
        elif isinstance(found, Refusal):
            self._refuse(client, found)
        else:
            self._forget(client)
            flow = (hello_flow if self._has_tls else flow_of)(client.network, head)
            self._hand_over(client.socket, flow, found is Head.BEFORE_BODY)

    def _refuse(self, client: _Client, refusal: Refusal) -> None:
        """Send a refusal, and linger until the client has read it."""
        self._forget(client)
        self._send(client, text_response(refusal.text, refusal.status))
        client.is_refused = True
        client.deadline = time.monotonic() + LINGER_SECONDS
        if len(self._refused) >= self._limits.incoming:
            self._close(next(iter(self._refused.values())))
        self._refused[client.socket.fileno()] = client
        try:
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return self._close(client)
        self._watch(client)

    def _send(self, client: _Client, response: CompleteResponse, *, with_body: bool = True) -> None:
        self._on_response(response.status)
        try:
            # It is smaller than the send buffer of the kernel.
            client.socket.send(to_bytes(response, with_body), socket.MSG_DONTWAIT)
        except OSError:
            return  # the client has disconnected

    def _sweep(self, now: float) -> None:
        """Close connections that exceed their time, and end a pause."""
        while (client := _first(self._waiting.values())) and client.deadline <= now:
            self._on_eviction(Eviction.SLOW)
            self._expire(client)
        while (client := _first(self._refused.values())) and client.deadline <= now:
            self._close(client)
        if self._paused_until and self._paused_until <= now:
            self._paused_until = 0.0
            self._epoll.register(self._listener, select.EPOLLIN)

    def _expire(self, client: _Client) -> None:
        """Close the connection of a slow client; refuse it with a response if it has sent something."""
        try:
            has_begun = bool(client.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            has_begun = False
        self._refuse(client, TOO_SLOW) if has_begun else self._close(client)

    def _evict(self) -> None:
        """Close the connection that has waited longest, of the network with most of them, unless it has sent a request.

        Its request may have arrived since it was read last: many are accepted at a time, and the thread pauses.
        """
        oldest = self._networks.oldest()
        self._receive(oldest, has_ended=False)
        if self._waiting.get(oldest.socket.fileno()) is oldest:
            self._close(oldest)
            self._on_eviction(Eviction.CONNECTIONS)

    def _wait(self, client: _Client) -> None:
        """Wait for more from a client, in place of another one if there are too many."""
        if client.is_watched:
            return
        if len(self._waiting) >= self._limits.incoming:
            self._evict()
        self._waiting[client.socket.fileno()] = client
        self._networks.add(client.network, client)
        self._watch(client)

    def _watch(self, client: _Client) -> None:
        watch(self._epoll, client.socket, _ARRIVALS)
        client.is_watched = True

    def _forget(self, client: _Client) -> None:
        if client.is_watched:
            unwatch(self._epoll, client.socket)
            client.is_watched = False
        self._remove(client)

    def _close(self, client: _Client) -> None:
        # Closing also ends watching.
        self._remove(client)
        client.socket.close()

    def _remove(self, client: _Client) -> None:
        descriptor = client.socket.fileno()
        self._refused.pop(descriptor, None)
        if self._waiting.pop(descriptor, None) is not None:
            self._networks.remove(client.network, client)


def _first(clients: Iterable[_Client]) -> _Client | None:
    return next(iter(clients), None)
