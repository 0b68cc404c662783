"""The order in which handshakes are served."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

import pytest

from exporter.web.flows import Flow
from exporter.web.handshakes import SERVED_MAX, Handshakes
from exporter.web.limits import ClientLimits
from exporter.web.tls import PIECE_BYTES, Tls, TlsSession
from tests.support.webfile import WebFiles

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
NETWORK = "127.0.0.1"


class Client:
    """A client in steps, with its end of a connection and the one of the server."""

    def __init__(self, stack: ExitStack) -> None:
        self.socket, self.served = map(stack.enter_context, socket.socketpair())
        self.socket.settimeout(10)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing)

    def begin(self) -> None:
        """Send the first message."""
        with pytest.raises(ssl.SSLWantReadError):
            self._session.do_handshake()
        self.socket.sendall(self._outgoing.read())

    def receive(self) -> None:
        """Wait for the answer to the first message."""
        self._incoming.write(self.socket.recv(PIECE_BYTES))
        self._session.do_handshake()

    def ask(self) -> None:
        """Send the last message, and a request."""
        self._session.write(REQUEST)
        self.socket.sendall(self._outgoing.read())

    @property
    def has_answer(self) -> bool:
        """Whether the first message was answered."""
        self.socket.setblocking(False)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False


class Held:
    """A queue that holds up the thread of the handshakes with each connection, until it is told to go on."""

    def __init__(self) -> None:
        self.arrived: SimpleQueue[socket.socket] = SimpleQueue()
        self.may_go_on = Event()

    def __call__(self, client: socket.socket, flow: Flow, awaits_body: bool, session: TlsSession) -> None:
        """Take a connection whose request has arrived."""
        self.arrived.put(client)
        assert self.may_go_on.wait(10)
        self.may_go_on.clear()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes at the end what a test has opened."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """A server's side of TLS."""
    web = WebFiles(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(web.server.certificate, web.server.key)
    context.num_tickets = 0
    return Tls(context)


def test_handshakes_that_have_begun_come_before_newer_ones(stack: ExitStack, tls: Tls) -> None:
    """Two begin; while the first one is handed over, the second one goes on and many others begin."""
    held = Held()
    handshakes = Handshakes(
        ClientLimits(),
        (),
        tls=lambda: tls,
        check=lambda _: None,
        queue=held,
        on_response=lambda _: None,
        on_eviction=lambda _: None,
        on_failure=lambda _: None,
    )
    thread = Thread(target=handshakes.run)
    thread.start()
    try:
        first, second = (_begun(handshakes, stack) for _ in range(2))
        first.receive()
        second.receive()
        first.ask()
        assert held.arrived.get(timeout=10) is first.served
        second.ask()
        others = [_begun(handshakes, stack) for _ in range(2 * SERVED_MAX)]
        held.may_go_on.set()
        assert held.arrived.get(timeout=10) is second.served
        assert not any(other.has_answer for other in others)
    finally:
        handshakes.stop()
        held.may_go_on.set()
        thread.join(10)


def _begun(handshakes: Handshakes, stack: ExitStack) -> Client:
    client = Client(stack)
    client.begin()
    handshakes.hand_over(client.served, Flow(NETWORK))
    return client
