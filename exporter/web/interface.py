"""What the server needs of the one whose state it shows, and what it measures of itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter, Summary

from exporter.instrument.exposition import AnyFamily
from exporter.model import FeedKey, Status
from exporter.web.limits import Eviction

Row = Mapping[str, object]
STATUSES = (200, 400, 403, 404, 405, 408, 414, 421, 431, 500, 503, 505)


class CursorError(Exception):
    """What a client gave as the end of a page is none; the text says so."""


class SymbolPage(NamedTuple):
    """Some rows, and where the next begin; `after` is empty at the end."""

    rows: list[Row]
    after: str


class Queries(Protocol):
    """What there is to show. All but `healthy` and `ready`, which must return at once, run in worker threads."""

    def collect(self) -> Iterable[AnyFamily]:
        """The families of a scrape, from memory."""

    def in_turn(self, pieces: Iterable[bytes]) -> Iterable[bytes]:
        """The pieces of a page of these families, each made when what is shown leaves time for it."""

    def healthy(self) -> Status:
        """Whether the process works."""

    def ready(self) -> Status:
        """Whether it does what it is for."""

    def config(self) -> Mapping[str, object]:
        """The configuration, without secrets."""

    def feeds(self) -> Collection[Row]:
        """A row a feed, made when it is asked for. The page shows `region`, `exchange`, `request_type`, `batches`,
        `messages`, `last_batch_size`, `last_batch_unique_symbols`, `last_batch_cache_efficiency` and
        `last_received_ms`; what is unknown is absent.
        """

    def symbols(self, feed: FeedKey | None, after: str, limit: int) -> SymbolPage:
        """At most so many rows, one a symbol, of one feed or of all; `after` is that of the page before, or empty.

        May wait for Redis, and raise StoreUnavailable; CursorError when `after` came from no page.
        """

    def distinct(self, feed: FeedKey) -> int | None:
        """About how many symbols a feed had lately over all replicas, if anybody knows; as `symbols`."""


class WebMetrics:
    """What the server measures of itself.

    Rendering is a summary, sum and count: a mean over time comes out of it, without the series of a histogram.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.render_seconds = Summary(
            "marketdata_exporter_scrape_render_seconds", "Time to make a page of metrics.", registry=registry
        )
        self.responses = Counter(
            "marketdata_exporter_http_responses", "Answers to HTTP requests, by status.", ["code"], registry=registry
        )
        self.evictions = Counter(
            "marketdata_exporter_http_evictions",
            "HTTP connections closed because they were slow, or to make room for new ones.",
            ["reason"],
            registry=registry,
        )
        for code in STATUSES:
            self.responses.labels(code)
        for reason in Eviction:
            self.evictions.labels(reason)

    def answered(self, status: int) -> None:
        """Count an answer."""
        self.responses.labels(status).inc()

    def evicted(self, why: Eviction) -> None:
        """Count a connection that was closed before its time."""
        self.evictions.labels(why).inc()
