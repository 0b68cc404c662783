"""Attacks over HTTP."""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from itertools import count, cycle
from threading import Thread
from types import MappingProxyType

from tests.hostile.attack import Attack, Target, descriptors, named

HOST, ANOTHER = "127.0.0.1", "127.0.0.2"
MANY = tuple(f"127.0.0.{number}" for number in range(1, 201))
HELD = 2000
NEW_A_SECOND = 1000
HAMMERS = 8
HEAD = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"


def wide_accepts(target: Target, until: float) -> None:
    """A megabyte of Accept headers, of as many elements as fit in."""
    _repeat(target, until, HEAD + b"Accept: " + b"a," * 4000 + b"\r\n" + (b"Accept: " + b"a," * 4000 + b"\r\n") * 120)


def quoted_accepts(target: Target, until: float) -> None:
    """Accept headers as large as they may be, of as many parameters and quotes as fit in."""
    _repeat(target, until, HEAD + b"Accept: text/plain" + b';x="\\",;"' * 880 + b"\r\n\r\n")


def wide_queries(target: Target, until: float) -> None:
    """Request lines as long as they may be, of as many parameters as fit in."""
    _repeat(target, until, b"GET /metrics?" + b"&name[]=a" * 800 + b" HTTP/1.1\r\nHost: x\r\n\r\n")


def many_selections(target: Target, until: float) -> None:
    """Pages of chosen families, all of them and always others."""
    for number in count():
        if time.monotonic() > until:
            return
        names = "&".join(f"name[]=n{number}x{place}" for place in range(50))
        _ask(target, f"/metrics?{names}&name[]=marketdata_stage_latency_seconds")


def hammered_feeds(target: Target, until: float) -> None:
    """`/api/v1/feeds` from several clients at once, again and again."""
    _hammer(target, until, "/api/v1/feeds")


def hammered_page(target: Target, until: float) -> None:
    """`/` likewise."""
    _hammer(target, until, "/")


def hammered_metrics(target: Target, until: float) -> None:
    """`/metrics` likewise."""
    _hammer(target, until, "/metrics")


def hammered_symbols(target: Target, until: float) -> None:
    """`/api/v1/symbols` likewise, as many rows as it gives."""
    _hammer(target, until, "/api/v1/symbols?limit=10000")


def pipelined_requests(target: Target, until: float) -> None:
    """Thousands of requests at once in each of some connections."""
    requests = b"GET /absent HTTP/1.1\r\nHost: x\r\n\r\n" * 2000
    with selectors.DefaultSelector() as selector, _held() as clients:
        for _ in range(20):
            client = _connection(target)
            client.setblocking(False)
            clients[client.fileno()] = client
            selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE)
        left = dict.fromkeys(clients, requests)
        while clients and time.monotonic() < until:
            for key, events in selector.select(0.1):
                client = clients[key.fd]
                try:
                    if events & selectors.EVENT_READ and not client.recv(1 << 20):
                        raise ConnectionResetError
                    if events & selectors.EVENT_WRITE:
                        left[key.fd] = left[key.fd][client.send(left[key.fd]) :] or requests
                except BlockingIOError:
                    continue
                except OSError:
                    selector.unregister(client)
                    clients.pop(key.fd).close()


def new_connections(target: Target, until: float) -> None:
    """So many new connections a second that say nothing; each is held for as long as the server holds it."""
    due = time.monotonic()
    with _held() as clients:
        while time.monotonic() < until:
            with suppress(OSError):
                client = _connection(target, seconds=1.0)
                clients[client.fileno()] = client
            if len(clients) > HELD:
                clients.pop(next(iter(clients))).close()
            due = max(due + 1 / NEW_A_SECOND, time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))


def half_requests(target: Target, until: float) -> None:
    """Connections that each say a little more from time to time and never come to an end."""
    _hold(target, until, HEAD, lambda client: client.send(b"X: y\r\n"))


def slow_readers(target: Target, until: float) -> None:
    """Clients that ask for a whole page, and read a few bytes a second of it."""
    _read_slowly(target, until)


def slow_readers_elsewhere(target: Target, until: float) -> None:
    """The same from another address than that of the others."""
    _read_slowly(target, until, [ANOTHER])


def slow_readers_everywhere(target: Target, until: float) -> None:
    """The same from many addresses, that of the others among them."""
    _read_slowly(target, until, MANY)


def bursts_of_requests(target: Target, until: float) -> None:
    """Whole requests as fast as they can be sent, of which no response is read; a little later the same again."""
    while time.monotonic() < until:
        with _held() as clients:
            for _ in range(HELD):
                with suppress(OSError):
                    client = _connection(target, receive_bytes=2048, seconds=1.0)
                    clients[client.fileno()] = client
                    client.sendall(HEAD + b"\r\n")
            time.sleep(0.5)


def idle_clients(target: Target, until: float) -> None:
    """Clients that ask for something small, keep their connection and ask no more."""
    _hold(target, until, b"GET /absent HTTP/1.1\r\nHost: x\r\n\r\n", lambda client: client.recv(4096))


def garbage(target: Target, until: float) -> None:
    """What is no request, one connection each."""
    _repeat(target, until, b"\x16\x03\x01" + b"\x00" * 5000 + b"\r\n\r\n")


ATTACKS = named((
    wide_accepts, quoted_accepts, wide_queries, many_selections, hammered_feeds, hammered_page, hammered_metrics,
    hammered_symbols, pipelined_requests, new_connections, half_requests, slow_readers, slow_readers_everywhere,
    bursts_of_requests, idle_clients, garbage,
)) | {
    "new connections, 64 descriptors": Attack(new_connections, descriptors(64)),
    "slow readers elsewhere, 1024 descriptors": Attack(slow_readers_elsewhere, descriptors(1024)),
    "slow readers elsewhere, 64 descriptors": Attack(slow_readers_elsewhere, descriptors(64)),
}  # fmt: skip


def _connection(target: Target, receive_bytes: int = 0, seconds: float = 10.0, source: str = HOST) -> socket.socket:
    client = socket.socket()
    client.bind((source, 0))
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(seconds)
    try:
        client.connect((HOST, target.port))
    except OSError:
        client.close()
        raise
    return client


@contextmanager
def _held() -> Iterator[dict[int, socket.socket]]:
    """Connections by their descriptor, closed at the end."""
    clients: dict[int, socket.socket] = {}
    try:
        yield clients
    finally:
        for client in clients.values():
            client.close()


def _read_slowly(target: Target, until: float, sources: Iterable[str] = (HOST,)) -> None:
    sent = HEAD + b"Accept-Encoding: identity\r\n\r\n"
    _hold(target, until, sent, lambda client: client.recv(64), sources)


def _hold(
    target: Target,
    until: float,
    sent: bytes,
    then: Callable[[socket.socket], object],
    sources: Iterable[str] = (HOST,),
    wrap: Callable[[socket.socket], socket.socket] = lambda client: client,
) -> None:
    """Hold `HELD` connections that have sent this, do something with each from time to time, replace those closed."""
    source = cycle(sources)
    with _held() as clients:
        while time.monotonic() < until:
            if len(clients) < HELD:
                with suppress(OSError):
                    client = wrap(_connection(target, receive_bytes=2048, seconds=1.0, source=next(source)))
                    client.setblocking(False)
                    clients[client.fileno()] = client
                    client.send(sent)
                continue
            for descriptor, client in list(clients.items()):
                try:
                    if then(client) == b"":
                        raise ConnectionResetError
                except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    continue
                except OSError:
                    clients.pop(descriptor).close()
            time.sleep(0.2)


def _repeat(target: Target, until: float, request: bytes) -> None:
    """Send the request again and again, over a connection each."""
    while time.monotonic() < until:
        with suppress(OSError), _connection(target) as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass


def _hammer(
    target: Target,
    until: float,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] = MappingProxyType({}),
    connect: Callable[[Target], HTTPConnection] = lambda target: HTTPConnection(HOST, target.port, timeout=10),
) -> None:
    """Ask without a pause, from several threads with a lasting connection each."""

    def ask() -> None:
        connection = connect(target)
        while time.monotonic() < until:
            try:
                connection.request(method, path, headers=dict(headers))
                connection.getresponse().read()
            except (OSError, HTTPException):
                connection.close()
        connection.close()

    _at_once([ask] * HAMMERS)


def _at_once(actions: Iterable[Callable[[], object]]) -> None:
    """Run all of these in threads, to the end."""
    threads = [Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _ask(target: Target, path: str) -> None:
    connection = HTTPConnection(HOST, target.port, timeout=10)
    with suppress(OSError, HTTPException):
        connection.request("GET", path)
        connection.getresponse().read()
    connection.close()
