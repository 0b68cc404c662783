"""What the web shows of a sidecar: families, states and rows, read under the loop's lock or from Redis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily

from exporter.configuration.config import Config, redacted
from exporter.feeds import Feed
from exporter.loop import Loop
from exporter.metrics.exposition import Family
from exporter.metrics.sidecar import SidecarMetrics
from exporter.model import FeedKey, Status, Unavailable
from exporter.store.store import NullStore, Store, StoreUnavailable
from exporter.watching.watch import Watch


class SidecarViews:
    """The views of one sidecar; see `exporter.web.server.Views`."""

    def __init__(
        self, config: Config, loop: Loop, store: Store, metrics: SidecarMetrics, registry: CollectorRegistry
    ) -> None:
        self._config = config
        self._loop = loop
        self._store = store
        self._metrics = metrics
        self._registry = registry

    def collect(self) -> Iterator[Metric | Family]:
        """Yield all families of the process, and last how many series they have."""
        series = 1
        for family in (*self._metrics.collect(), *self._registry.collect()):
            series += _series(family)
            yield family
        yield GaugeMetricFamily("marketdata_exporter_series", "Series on this page.", series)

    def healthy(self) -> Status:
        """Tell whether the loop turns."""
        return self._loop.healthy()

    def ready(self) -> Status:
        """Tell whether what is served is up to date."""
        return self._loop.ready()

    def config(self) -> Mapping[str, object]:
        """Return the configuration without its secrets."""
        shown: dict[str, object] = redacted(self._config)
        return shown

    def feeds(self) -> list[dict[str, object]]:
        """Return a row for each feed, in order."""
        with self._loop.lock:
            feeds = self._loop.analysis.table.feeds
            return [_feed_row(feeds[key]) for key in sorted(feeds)]

    def symbols(self, feed: FeedKey | None) -> list[dict[str, object]]:
        """Return a row for each symbol: of all replicas when there is Redis, else what this process has seen."""
        if not isinstance(self._store, NullStore):
            return self._symbols_of_all(self._store, feed)
        with self._loop.lock:
            known = self._loop.analysis.table.feeds
            return [row for key in sorted(known) if feed in (None, key) for row in _symbol_rows(known[key])]

    def distinct(self, feed: FeedKey) -> int | None:
        """Return about how many symbols the feed had lately over all replicas; None without Redis."""
        try:
            return self._store.distinct(feed)
        except StoreUnavailable as error:
            raise Unavailable(f"Redis: {error}") from None

    @staticmethod
    def _symbols_of_all(store: Store, feed: FeedKey | None) -> list[dict[str, object]]:
        try:
            rows = store.symbols(feed)
        except StoreUnavailable as error:
            raise Unavailable(f"Redis: {error}") from None
        return [
            {**row.feed._asdict(), "symbol": row.symbol, "messages": row.messages, "last_seen_ms": row.last_seen_ms}
            for row in rows
        ]


def _series(family: Metric | Family) -> int:
    if isinstance(family, Family):
        return sum(block.count("\n") for block in family.blocks)
    return len(family.samples)


def _feed_row(feed: Feed) -> dict[str, object]:
    row: dict[str, object] = {**feed.key._asdict(), "batches": feed.batches, "messages": feed.messages}
    if feed.last is not None and feed.partitions:
        row |= {
            "last_batch_size": feed.last.batch_size,
            "last_batch_unique_symbols": feed.last.unique_symbols,
            "last_batch_cache_efficiency": feed.last.cache_efficiency,
            "last_batch_ms": feed.last_batch_ms,
            "last_received_ms": feed.last_received_ms,
            "partitions": [str(partition) for partition in sorted(feed.partitions)],
        }
    if feed.has_state:
        row |= _state_row(feed.watch)
    return row


def _state_row(watch: Watch) -> dict[str, object]:
    diagnosis = watch.tracker.diagnosis
    return {
        "state": diagnosis.state,
        "reasons": diagnosis.reasons,
        "scope": diagnosis.scope,
        "state_since_ms": watch.tracker.since_ms,
        "silent_limit_seconds": watch.freshness.silent_limit_ms / 1000,
    }


def _symbol_rows(feed: Feed) -> list[dict[str, object]]:
    return [
        {
            **feed.key._asdict(),
            "symbol": symbol,
            "messages": feed.symbol_messages[symbol],
            "last_seen_ms": feed.symbol_seen_ms[symbol],
        }
        for symbol in sorted(feed.symbol_seen_ms)
    ]
