"""The thread that makes TLS handshakes and answers health checks over TLS, for connections that the acceptor took.

A connection arrives here with a complete first message of its client. It counts as one that has not sent a request:
with the same limits of number and time, in a thread of its own, so that no handshake delays the acceptor or a response.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Container
from contextlib import suppress
from itertools import islice

from exporter.runtime import logs
from exporter.web.counts import Crowds
from exporter.web.flows import Flow, FlowCounts, flow_of
from exporter.web.handshake_order import in_order
from exporter.web.heads import TOO_SLOW, Head, HealthCheck, Refusal, classify_head
from exporter.web.limits import CONNECTIONS_MIN, ClientLimits, Eviction
from exporter.web.prompt_sockets import unwatch, watch
from exporter.web.responses import CompleteResponse, text_response, to_bytes
from exporter.web.throttle import CpuThrottle
from exporter.web.tls import PIECE_BYTES, Tls, TlsSession

SWEEP_SECONDS = 0.5
# Connections that are served before others that have news meanwhile have a turn: some milliseconds.
SERVED_MAX = 32
# As the acceptor does, for clients that still send while they are refused.
LINGER_SECONDS = 1.0
# Reasons for which handshakes fail; a closed set.
CERTIFICATE, NAME, PROTOCOL, DISCONNECTED = FAILURES = ("certificate", "name", "protocol", "disconnected")
_ENDS = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_OF_CERTIFICATE = ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_VERIFY_FAILED")

log = logs.logger("web")


class _Client:
    """A connection without a complete request; `since` and `deadline` are monotonic, see `handshake_order`."""

    __slots__ = ("deadline", "flow", "messages", "number", "session", "since", "socket", "tls")

    def __init__(
        self, client: socket.socket, flow: Flow, number: int, tls: Tls, *, since: float, deadline: float
    ) -> None:
        self.socket = client
        self.flow = flow
        self.number = number
        self.since = since
        self.deadline = deadline
        self.tls = tls
        self.messages = 0
        self.session = TlsSession(tls.context)


class Handshakes:
    """Owner of connections from the acceptor until they have sent a request.

    `tls` returns what is in force. `check` returns the response to a health check, or None if it needs the event loop.
    `queue` takes connections with a request; `on_failure` counts handshakes that fail, by reason.
    """

    def __init__(
        self,
        limits: ClientLimits,
        paths: Container[str],
        *,
        tls: Callable[[], Tls],
        check: Callable[[HealthCheck], CompleteResponse | None],
        queue: Callable[[socket.socket, Flow, bool, TlsSession], None],
        on_response: Callable[[int], None],
        on_eviction: Callable[[Eviction], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._limits = limits
        self._paths = paths
        self._tls = tls
        self._check = check
        self._queue = queue
        self._on_response = on_response
        self._on_eviction = on_eviction
        self._on_failure = on_failure
        self._arrived: deque[tuple[socket.socket, Flow]] = deque()
        self._numbers = 0
        self._is_crowded = self._is_stopping = self._is_notified = False
        # By descriptor, ordered by age; `_refused` linger until they have read the reason.
        self._clients: dict[int, _Client] = {}
        self._refused: dict[int, _Client] = {}
        self._connections = FlowCounts()
        self._networks = Crowds[str, _Client]()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._woken, select.EPOLLIN)

    def hand_over(self, client: socket.socket, flow: Flow, _: bool = False) -> None:
        """Take a connection, of whose request nothing is known yet; callable from any thread."""
        if self._is_stopping:
            return client.close()
        self._arrived.append((client, flow))
        self._notify()

    def close_some(self) -> None:
        """Close some connections soon, because no descriptors are left; callable from any thread."""
        self._is_crowded = True
        self._notify()

    def stop(self) -> None:
        """End `run` soon, and close what is handed over from now on; callable from any thread."""
        self._is_stopping = True
        self._notify()

    def _notify(self) -> None:
        if not self._is_notified:
            self._is_notified = True
            with suppress(OSError):  # the thread has ended
                self._wake.send(b"x")

    def run(self) -> None:
        """Make handshakes until stopped; then close all connections."""
        throttle = CpuThrottle()
        with self._wake, self._woken, self._epoll:
            while not self._is_stopping:
                self._turn()
                throttle.pause()
        for client, _ in self._arrived:
            client.close()
        for each in (*self._clients.values(), *self._refused.values()):
            each.socket.close()

    def _turn(self) -> None:
        events = dict(self._epoll.poll(SWEEP_SECONDS, 2 * self._limits.incoming + 1))
        now = time.monotonic()
        if self._woken.fileno() in events:
            self._woken.recv(PIECE_BYTES)
            self._is_notified = False
        while self._arrived:
            self._add(*self._arrived.popleft(), now)
        for lingering in [refused for descriptor in events if (refused := self._refused.get(descriptor))]:
            self._drop(lingering)
        clients = [client for descriptor in events if (client := self._clients.get(descriptor))]
        for client in islice(in_order(clients, self._connections, now), SERVED_MAX):
            self._receive(client, has_ended=bool(events[client.socket.fileno()] & _ENDS))
        self._sweep(now)

    def _add(self, accepted: socket.socket, flow: Flow, now: float) -> None:
        if len(self._clients) >= self._limits.incoming:
            self._evict()
        self._numbers += 1
        accepted.setblocking(False)
        deadline = now + self._limits.request_seconds
        client = _Client(accepted, flow, self._numbers, self._tls(), since=now, deadline=deadline)
        self._clients[accepted.fileno()] = client
        self._connections.add(flow)
        self._networks.add(flow.network, client)
        watch(self._epoll, accepted, select.EPOLLIN | select.EPOLLRDHUP)

    def _receive(self, client: _Client, *, has_ended: bool) -> None:
        """Take what a client has sent, answer in the handshake, and act on a complete request."""
        if has_ended and not client.messages:
            return self._fail(client, DISCONNECTED)  # it cannot answer in the handshake
        try:
            received = client.socket.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            return self._fail(client, DISCONNECTED)
        was_complete = client.session.is_complete
        client.messages += 1
        try:
            client.session.feed(received)
        except ssl.SSLError as error:
            self._send(client)  # an alert with the reason
            return self._fail(client, _reason(error), getattr(error, "verify_message", "") or error.reason or "")
        self._send(client)
        if client.session.is_complete and (was_complete or self._is_allowed(client)):
            self._handle(client)

    def _is_allowed(self, client: _Client) -> bool:
        """Return whether the certificate of a client is allowed; close its connection otherwise."""
        if client.session.has_expired(time.time()):
            self._fail(client, CERTIFICATE, "certificate has expired")
        elif not client.tls.allows(client.session):
            self._fail(client, NAME, "no allowed subjectAltName")
        else:
            return True
        return False

    def _drop(self, client: _Client) -> None:
        """Drop what a refused client sends."""
        try:
            if client.socket.recv(PIECE_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(client)

    def _handle(self, client: _Client) -> None:
        session = client.session
        head = session.received
        found = classify_head(head, self._paths, is_final=session.has_ended) if head else Head.INCOMPLETE
        if isinstance(found, Refusal):
            self._refuse(client, found)
        elif isinstance(found, HealthCheck) and (response := self._check(found)) is not None:
            self._respond(client, response, with_body=not found.is_head)
            self._close(client)
        elif found is not Head.INCOMPLETE:
            self._forget(client)
            self._queue(client.socket, flow_of(client.flow.network, head), found is Head.BEFORE_BODY, session)
        elif session.has_ended:
            self._close(client)

    def _refuse(self, client: _Client, refusal: Refusal) -> None:
        """Send a refusal, and linger until the client has read it."""
        self._respond(client, text_response(refusal.text, refusal.status))
        self._forget(client)
        if len(self._refused) >= self._limits.incoming:
            self._close(next(iter(self._refused.values())))
        client.deadline = time.monotonic() + LINGER_SECONDS
        try:
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the client has disconnected
            return client.socket.close()
        self._refused[client.socket.fileno()] = client
        watch(self._epoll, client.socket, select.EPOLLIN)

    def _respond(self, client: _Client, response: CompleteResponse, *, with_body: bool = True) -> None:
        self._on_response(response.status)
        with suppress(ssl.SSLError):  # the session has ended
            client.session.encrypt(to_bytes(response, with_body))
            client.session.end()
        self._send(client)

    def _send(self, client: _Client) -> None:
        """Send what the session has for the client, which is smaller than the send buffer of the kernel."""
        if data := client.session.to_send():
            with suppress(OSError):  # the client has disconnected, which is noticed when it is read next
                client.socket.send(data)

    def _fail(self, client: _Client, reason: str, error: str = "") -> None:
        if client.session.is_complete and reason == DISCONNECTED:
            return self._close(client)
        self._on_failure(reason)
        if reason in (CERTIFICATE, NAME):
            fields = {"error": error, "client": _address(client.socket)}
            log.warning("the certificate of a client is refused", extra=fields)
        self._close(client)

    def _sweep(self, now: float) -> None:
        """Close connections that exceed their time, and some if no descriptors are left."""
        while (first := next(iter(self._clients.values()), None)) is not None and first.deadline <= now:
            self._on_eviction(Eviction.SLOW)
            self._refuse(first, TOO_SLOW) if first.session.received else self._close(first)
        while (first := next(iter(self._refused.values()), None)) is not None and first.deadline <= now:
            self._close(first)
        if self._is_crowded:
            self._is_crowded = False
            for _ in range(min(CONNECTIONS_MIN, len(self._clients))):
                self._evict()

    def _evict(self) -> None:
        """Close the oldest connection of the network with most of them."""
        self._on_eviction(Eviction.CONNECTIONS)
        self._close(self._networks.oldest())

    def _close(self, client: _Client) -> None:
        self._forget(client)
        client.socket.close()

    def _forget(self, client: _Client) -> None:
        descriptor = client.socket.fileno()
        if self._clients.pop(descriptor, None) is not None:
            self._connections.remove(client.flow)
            self._networks.remove(client.flow.network, client)
            unwatch(self._epoll, client.socket)
        elif self._refused.pop(descriptor, None) is not None:
            unwatch(self._epoll, client.socket)


def _reason(error: ssl.SSLError) -> str:
    return CERTIFICATE if error.reason in _OF_CERTIFICATE else PROTOCOL


def _address(client: socket.socket) -> str:
    try:
        return str(client.getpeername()[0])
    except OSError:
        return "disconnected"
