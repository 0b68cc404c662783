"""Slow, silent or hostile clients lose their own connections and do not affect others."""

import contextlib
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests

from exporter.web.limits import ClientLimits
from tests.support.queries import HOST, LARGE_BYTES, Site, large, site
from tests.support.waiting import eventually

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def open_sockets() -> Iterator[ExitStack]:
    """Closes at the end what a test has opened."""
    with ExitStack() as stack:
        yield stack


def scrape(running: Site) -> int:
    """The status of a scrape."""
    return requests.get(running.url("/metrics"), timeout=10).status_code


def received(client: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed the connection; nothing may have come over it."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_silent_and_dripping_clients_do_not_delay_a_scrape(open_sockets: ExitStack) -> None:
    """A scrape is answered while hundreds of connections send nothing or too little."""
    with site() as running:
        clients = [open_sockets.enter_context(running.connect()) for _ in range(200)]
        for client in clients[::2]:
            client.sendall(b"GET /metrics HTTP/1.1\r\nX-Drip: ")
        assert scrape(running) == 200
        assert not any(map(is_closed, clients))


def test_a_request_that_does_not_end_is_closed(open_sockets: ExitStack) -> None:
    """Also when there is always a little more of it."""
    with site(ClientLimits(request_seconds=0.2)) as running:
        silent, dripping = (open_sockets.enter_context(running.connect()) for _ in range(2))

        def is_dropped() -> bool:
            try:
                dripping.send(b"X")
            except (ConnectionResetError, BrokenPipeError):
                return True
            return False

        dripping.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert eventually(is_dropped)
        assert received(silent) == b""
        assert running.queries.evictions("slow") == 2


def test_an_idle_connection_is_closed_without_being_counted(open_sockets: ExitStack) -> None:
    """A client that was served and stays is no nuisance."""
    with site(ClientLimits(idle_seconds=0.2)) as running:
        client = open_sockets.enter_context(running.connect())
        client.sendall(REQUEST)
        assert received(client).startswith(b"HTTP/1.1 200 OK\r\n")
        assert running.queries.evictions("slow") == 0


def test_new_connections_replace_the_oldest(open_sockets: ExitStack) -> None:
    """None is refused; those that have not sent a request are closed for new ones."""
    with site(ClientLimits(incoming=10)) as running:
        clients = [open_sockets.enter_context(running.connect()) for _ in range(30)]
        assert eventually(lambda: running.queries.evictions("connections") == 20)
        assert [is_closed(client) for client in clients] == [True] * 20 + [False] * 10
        assert scrape(running) == 200
        assert not any(map(is_closed, clients[21:]))


def test_active_connections_are_closed_last(open_sockets: ExitStack) -> None:
    """A scrape that takes its time survives any number of silent connections."""
    with site(ClientLimits(incoming=5)) as running:
        running.queries.go_on.clear()
        scraping = open_sockets.enter_context(running.connect())
        scraping.sendall(LAST_REQUEST)
        assert running.queries.collecting.wait(10)
        for _ in range(20):
            open_sockets.enter_context(running.connect())
        assert eventually(lambda: (running.queries.evictions("connections") or 0) > 10)
        running.queries.go_on.set()
        assert received(scraping).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_that_does_not_read_is_closed(open_sockets: ExitStack) -> None:
    """And meanwhile a scrape by others is answered."""
    with site(ClientLimits(response_seconds=0.2)) as running:
        running.queries.more = [large("large")]
        client = open_sockets.enter_context(running.connect(receive_bytes=4096))
        client.sendall(REQUEST)
        assert requests.get(running.url("/metrics?name[]=depth"), timeout=10).status_code == 200
        assert eventually(lambda: running.queries.evictions("slow") == 1)
        assert len(received(client)) < LARGE_BYTES


def test_unread_responses_do_not_fill_the_memory(open_sockets: ExitStack) -> None:
    """When different large pages exceed the limit, the connection that reads the oldest is closed."""
    with site(ClientLimits(bodies_bytes=2 * LARGE_BYTES + 1_000_000)) as running:
        running.queries.more = [large(name) for name in "abc"]
        clients = [open_sockets.enter_context(running.connect(receive_bytes=4096)) for _ in "aabc"]
        for client, name in zip(clients, "aabc", strict=True):
            client.sendall(LAST_REQUEST.replace(b"metrics", b"metrics?name[]=" + name.encode()))
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert eventually(lambda: running.queries.evictions("memory") == 2)
        assert [len(received(client)) > LARGE_BYTES for client in clients[2:]] == [True, True]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), id="a TLS greeting"),
        pytest.param(b"\x00" * 10_000 + b"\r\n\r\n", id="zeros"),
        pytest.param(b"GET\r\n\r\n", id="no path"),
        pytest.param(b"GET /metrics HTTP/9.9\r\n\r\n", id="a version that does not exist"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 65536 + b"\r\n\r\n", id="a huge header"),
        pytest.param(b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\n\r\n", id="a huge path"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n", id="too many headers"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", id="a negative length"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\nContent-Length: 3\r\n\r\nabc", id="smuggling"
        ),
    ],
)
def test_invalid_requests_are_refused_and_not_logged(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise any client could fill the disk; the next scrape works."""
    with site() as running, running.connect() as client, caplog.at_level(logging.DEBUG):
        # The server may close the connection before it has read everything.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
        answer = received(client)
        assert answer == b"" or answer.split(b" ", 2)[1] in (b"400", b"414", b"431")
        assert scrape(running) == 200
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


@pytest.mark.parametrize(
    ("version", "fields", "body"),
    [
        ("1.1", b"Content-Length: 3", b"abc"),
        ("1.1", b"Transfer-Encoding: chunked", b"3;a=b\r\nabc\r\n0\r\n\r\n"),
        ("1.1", b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"),
        ("1.0", b"Connection: keep-alive\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    ],
    ids=["a length", "chunks", "compressed chunks", "chunks in HTTP/1.0"],
)
def test_what_follows_a_body_is_not_answered(version: str, fields: bytes, body: bytes) -> None:
    """A proxy may see another end of the body, and take what follows for a part of it, or the other way round."""
    first = REQUEST.replace(b"1.1", version.encode()).replace(b"\r\n\r\n", b"\r\n%b\r\n\r\n" % fields)
    with site() as running, running.connect() as client:
        client.sendall(first + body + b"GET /absent HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = received(client)
    assert answer.startswith(b"HTTP/%b 200 OK\r\n" % version.encode())
    assert answer.count(b"HTTP/1.") == 1


def test_connections_that_send_blank_lines_take_no_place(open_sockets: ExitStack) -> None:
    """They have not sent a request."""
    with site(ClientLimits(active=1)) as running:
        for _ in range(20):
            open_sockets.enter_context(running.connect()).sendall(b"\r\n\r\n")
        assert scrape(running) == 200
        assert running.queries.evictions("connections") == 0


def test_a_client_does_not_keep_its_place_while_others_wait(open_sockets: ExitStack) -> None:
    with site(ClientLimits(active=1)) as running:
        running.queries.go_on.clear()
        first, second = (open_sockets.enter_context(running.connect()) for _ in range(2))
        first.sendall(REQUEST)
        assert running.queries.collecting.wait(10)
        second.sendall(REQUEST.replace(b"metrics", b"absent"))
        assert eventually(lambda: len(running.server._connections.queue) == 1)
        running.queries.go_on.set()
        head, _, body = received(first).partition(b"\r\n\r\n")
        assert b"\r\nConnection: close" in head
        assert f"\r\nContent-Length: {len(body)}".encode() in head  # its place is taken after it has all
        assert second.recv(22) == b"HTTP/1.1 404 Not Found"


def test_a_network_with_many_connections_loses_one_before_others(open_sockets: ExitStack) -> None:
    """Although that of the other network has waited longer."""
    with site(ClientLimits(active=3)) as running:
        running.queries.go_on.clear()
        scraping = open_sockets.enter_context(running.connect())
        scraping.sendall(LAST_REQUEST)
        assert running.queries.collecting.wait(10)
        for _ in range(4):
            other = socket.create_connection((HOST, running.port), 10, source_address=("127.0.0.2", 0))
            open_sockets.enter_context(other).sendall(LAST_REQUEST)
        assert eventually(lambda: running.queries.evictions("connections"))
        running.queries.go_on.set()
        assert received(scraping).startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_unwanted_body_is_not_waited_for() -> None:
    """The request is answered, and the connection closed."""
    with site() as running, running.connect() as client:
        client.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 10000000000\r\n\r\n"))
        assert received(client).startswith(b"HTTP/1.1 200 OK\r\n")
        assert scrape(running) == 200
