"""A web server with queries that tests control."""

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

from exporter.instrument.exposition import AnyFamily, Family
from exporter.model import EventType, FeedKey, Status
from exporter.page.watch import Tick
from exporter.web.config_file import WebConfigFile, WebFileMetrics
from exporter.web.hosts import Access
from exporter.web.interface import Lifecycle, Row, SymbolPage, WebMetrics
from exporter.web.limits import ClientLimits
from exporter.web.risk import Risk
from exporter.web.server import WebServer

FEED: dict[str, object] = {
    "region": "korea",
    "exchange": "upbit",
    "request_type": "ticker",
    "batches": 1234,
    "messages": 24680,
    "last_batch_size": 20,
    "last_batch_unique_symbols": 16,
    "last_batch_cache_efficiency": 0.0625,
    "last_received_ms": 1_760_031_213_693,
    "state": "ok",
    "reasons": [],
    "scope": "feed",
    "state_since_ms": 1_760_031_000_000,
    "silent_limit_seconds": 10.0,
}
HOST = "127.0.0.1"
# More than sockets of the loopback interface may buffer.
LARGE_BYTES = 24_000_000


def large(name: str, size: int = LARGE_BYTES) -> Family:
    """A family of `size` bytes."""
    line = f'{name}{{x="{"y" * 1000}"}} 1\n'
    return Family(name, "gauge", "Large.", "", [line] * (size // len(line)))


class Steps:
    """Steps of streams with `update` in each; `tapped` are the types that the last step asked for."""

    start = "start"

    def __init__(self) -> None:
        self.update = b"{}"
        self.number = 0
        self.tapped: frozenset[EventType] = frozenset()
        self.is_closed = False
        self.failure: Exception | None = None

    def tick(self, types: frozenset[EventType], tick_seconds: float) -> Tick:
        """See Watched; every type has an event in every step in which it was asked for before."""
        if self.failure is not None:
            raise self.failure
        published = {each: b'"%b %d"' % (each.encode(), self.number) for each in self.tapped}
        self.number, self.tapped = self.number + 1, types
        return Tick(self.number, self.update, published)

    def snapshot(self) -> tuple[int, bytes]:
        """See Watched."""
        return self.number, b'"all"'

    def close(self) -> None:
        """See Watched."""
        self.is_closed = True


class Shown:
    """Queries with results that tests set.

    Each query sets `collecting` and waits for `go_on`; `asked` has `after` and `limit` of pages.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = WebMetrics(self.registry)
        self.records = Counter("records", "Records.", ["topic"], registry=self.registry)
        self.depth = Gauge("depth", "Depth.", registry=self.registry)
        self.more: list[Family] = []
        self.health = Status(True)
        self.readiness = Status(True)
        self.settings: Mapping[str, object] = {"kafka": {"bootstrap_servers": "localhost:9092"}}
        self.rows = [FEED]
        self.steps = Steps()
        self.watches = 0
        self.failure: Exception | None = None
        self.scrapes = self.readings = 0
        self.after = ""
        self.asked: list[tuple[str, int]] = []
        self.collecting = Event()
        self.go_on = Event()
        self.go_on.set()

    def collect(self, is_protobuf: bool = False) -> Iterable[AnyFamily]:
        """See Queries."""
        self._fail()
        self.scrapes += 1
        self.collecting.set()
        self.go_on.wait()
        return [*self.registry.collect(), *self.more]

    def in_turn(self, pieces: Iterable[bytes]) -> Iterable[bytes]:
        """See Queries."""
        return pieces

    def healthy(self) -> Status:
        """See Queries."""
        self._fail()
        return self.health

    def ready(self) -> Status:
        """See Queries."""
        self._fail()
        return self.readiness

    def config(self) -> Mapping[str, object]:
        """See Queries."""
        self._fail()
        return self.settings

    def feeds(self) -> list[dict[str, object]]:
        """See Queries."""
        self._fail()
        self.readings += 1
        self.collecting.set()
        self.go_on.wait()
        return self.rows

    def feed(self, feed: FeedKey) -> Row | None:
        """See Queries; only one is known."""
        self._fail()
        return FEED if str(feed) == "korea:upbit:ticker" else None

    def history(self, feeds: Iterable[FeedKey]) -> Row:
        """See Queries."""
        self._fail()
        return {"feeds": [str(feed) for feed in feeds]}

    def programs(self, program: str | None) -> Row | None:
        """See Queries; only one is known."""
        self._fail()
        return {"asked": program} if program in (None, "signals") else None

    def ingestion(self) -> Row | None:
        """See Queries."""
        self._fail()
        return {"sources": []}

    def watch(self) -> Steps:
        """See Queries."""
        self.watches += 1
        return self.steps

    def snapshot(self) -> bytes:
        """See Queries."""
        self._fail()
        return b'"all"'

    def symbols(self, feed: FeedKey | None, after: str, limit: int) -> SymbolPage:
        """See Queries."""
        self._fail()
        self.asked.append((after, limit))
        self.go_on.wait()
        return SymbolPage([{"feed": None if feed is None else str(feed), "symbol": "KRW-BTC"}], self.after)

    def distinct(self, feed: FeedKey) -> int | None:
        """See Queries."""
        self._fail()
        return 1

    def evictions(self, reason: str) -> float | None:
        """How many connections were closed for this reason."""
        return self.registry.get_sample_value("marketdata_exporter_http_evictions_total", {"reason": reason})

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class Site(NamedTuple):
    """A running server and what it shows."""

    queries: Shown
    port: int
    server: WebServer
    web_file: WebConfigFile | None = None

    def url(self, path: str) -> str:
        """The address of a page."""
        return f"http://{HOST}:{self.port}{path}"

    def connect(self, receive_bytes: int = 0) -> socket.socket:
        """A connection that has sent nothing; with a small buffer it receives only what is read."""
        client = socket.socket()
        if receive_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(10)
        try:
            client.connect((HOST, self.port))
        except OSError:
            client.close()
            raise
        return client


@contextmanager
def site(
    limits: ClientLimits = ClientLimits(),  # noqa: B008 - frozen
    host: str = HOST,
    access: Access = Access(),  # noqa: B008 - frozen
    config_file: Path | None = None,
    lifecycle: Lifecycle | None = None,
    risk: Risk | None = None,
) -> Iterator[Site]:
    """A server on a free port, stopped at the end; `config_file` is a web configuration file."""
    queries = Shown()
    web_file = None if config_file is None else WebConfigFile(str(config_file), WebFileMetrics(queries.registry))
    server = WebServer(
        queries,
        host,
        0,
        "/metrics",
        metrics=queries.metrics,
        limits=limits,
        access=access,
        web_file=web_file,
        lifecycle=lifecycle,
        risk=risk,
    )
    port = server.start()
    try:
        yield Site(queries, port, server, web_file)
    finally:
        queries.go_on.set()
        server.stop()
