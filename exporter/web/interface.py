"""The queries that the server makes, and the metrics of the server itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter, Summary

from exporter.config.schema import Config
from exporter.instrument.exposition import AnyFamily
from exporter.model import EventType, FeedKey, Status
from exporter.runtime.logs import Level
from exporter.web.limits import Eviction

if TYPE_CHECKING:  # other servers than that of the sidecar load nothing of it
    from exporter.page.watch import Tick
    from exporter.reload import Outcome

Row = Mapping[str, object]
STATUSES = (200, 304, 400, 403, 404, 405, 408, 413, 414, 421, 431, 500, 503, 505)


class CursorError(Exception):
    """The `after` of a request is not the `next` of a page; the text explains it to the client."""


class SymbolPage(NamedTuple):
    """Rows of a page, and the `after` of the next page, empty at the end."""

    rows: list[Row]
    after: str


class Watched(Protocol):
    """The state as streams show it, for one worker thread; see `exporter.page.watch.Watch`."""

    @property
    def start(self) -> str:
        """A text that differs for each start of the sidecar."""

    def tick(self, types: frozenset[EventType], tick_seconds: float) -> Tick:
        """Take the next step, and collect published events of these types until the one after it."""

    def snapshot(self) -> tuple[int, bytes]:
        """Return the number of the last step, and the JSON of the whole state after it."""

    def close(self) -> None:
        """Stop collecting published events."""


class Queries(Protocol):
    """Queries of the state. `healthy` and `ready` must return at once; all others run in worker threads."""

    def collect(self, is_protobuf: bool = False) -> Iterable[AnyFamily]:
        """Return the families of a scrape, from memory, rendered for text or for protobuf."""

    def in_turn(self, pieces: Iterable[bytes]) -> Iterable[bytes]:
        """Yield the pieces of a metrics page, each rendered when the loop leaves time for it."""

    def healthy(self) -> Status:
        """Return whether the process works."""

    def ready(self) -> Status:
        """Return whether the figures are up to date."""

    def config(self) -> Mapping[str, object]:
        """Return the configuration without secrets."""

    def feeds(self) -> Collection[Row]:
        """Return a row for each feed, created while it is iterated.

        The page shows `region`, `exchange`, `request_type`, `batches`, `messages`, `last_batch_size`,
        `last_batch_unique_symbols`, `last_batch_cache_efficiency` and `last_received_ms`; unknown fields are absent.
        """

    def feed(self, feed: FeedKey) -> Row | None:
        """Return the view of one feed, None for an unknown one."""

    def history(self, feeds: Iterable[FeedKey]) -> Row:
        """Return the samples of the sidecar and of some feeds."""

    def programs(self, program: str | None) -> Row | None:
        """Return the rows of all programs, or the view of one; None for an unknown one, or if none can be known."""

    def ingestion(self) -> Row | None:
        """Return what is known of ingesting services; None when their events are not read."""

    def watch(self) -> Watched:
        """Return the state as streams show it, for one worker thread."""

    def snapshot(self) -> bytes:
        """Return the JSON of the whole state as streams show it."""

    def symbols(self, feed: FeedKey | None, after: str, limit: int) -> SymbolPage:
        """Return at most `limit` rows, one for each symbol of one feed or all; `after` is from the previous page.

        May wait for Redis, and raise StoreUnavailable; CursorError when `after` is from no page.
        """

    def distinct(self, feed: FeedKey) -> int | None:
        """Estimate the recent symbols of a feed over all replicas, None without Redis; raise as `symbols`."""


class Lifecycle(Protocol):
    """What changes the running sidecar; `config` is the configuration in force."""

    config: Config

    def request(self) -> Future[Outcome]:
        """Reload the configuration."""

    def set_level(self, level: Level) -> Future[None]:
        """Log from this level on."""


class WebMetrics:
    """Metrics of the server.

    Rendering is a summary (sum and count): enough for a mean over time, without the series of a histogram.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.render_seconds = Summary(
            "marketdata_exporter_scrape_render_seconds", "Duration of rendering a metrics page.", registry=registry
        )
        self.responses = Counter(
            "marketdata_exporter_http_responses", "HTTP responses by status.", ["code"], registry=registry
        )
        self.evictions = Counter(
            "marketdata_exporter_http_evictions",
            "HTTP connections closed because they were slow, or to make room for others.",
            ["reason"],
            registry=registry,
        )
        for code in STATUSES:
            self.responses.labels(code)
        for reason in Eviction:
            self.evictions.labels(reason)

    def answered(self, status: int) -> None:
        """Count a response."""
        self.responses.labels(status).inc()

    def evicted(self, why: Eviction) -> None:
        """Count a connection that the server closed."""
        self.evictions.labels(why).inc()
