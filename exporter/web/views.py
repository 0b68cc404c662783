"""What the web shows of a sidecar: families, states and rows, read while the loop rests or from Redis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily

from exporter.analyzers.symbols import SymbolStatus
from exporter.configuration.config import Config, redacted
from exporter.feeds import Feed
from exporter.foreign import printable, without_secrets
from exporter.loop import Loop
from exporter.metrics.exposition import Family
from exporter.metrics.sidecar import SidecarMetrics
from exporter.model import FeedKey, Status, Unavailable
from exporter.store.store import NullStore, Store, StoreUnavailable
from exporter.watching.watch import Watch

# A broker's words, and what to do about it.
REASON_MAX = 600


class Seen(NamedTuple):
    """The symbols of one feed: how many messages each had, and when it was last in a batch, in Unix milliseconds."""

    messages: Mapping[str, int]
    last_ms: Mapping[str, int]


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
        return _told(self._loop.healthy())

    def ready(self) -> Status:
        """Tell whether what is served is up to date."""
        return _told(self._loop.ready())

    def config(self) -> Mapping[str, object]:
        """Return the configuration without its secrets."""
        shown: Any = without_secrets(redacted(self._config))
        return dict(shown)

    def feeds(self) -> list[dict[str, object]]:
        """Return a row for each feed, in order."""
        with self._loop.visits:
            feeds = self._loop.analysis.table.feeds
            return [_feed_row(feeds[key]) for key in sorted(feeds)]

    def symbols(self, feed: FeedKey | None) -> list[dict[str, object]]:
        """Return a row for each symbol: of all replicas when there is Redis, else what this process has seen."""
        seen = self._seen_here(feed) if isinstance(self._store, NullStore) else self._seen_by_all(feed)
        return [row for key in sorted(seen) for row in self._symbol_rows(key, seen[key])]

    def distinct(self, feed: FeedKey) -> int | None:
        """Return about how many symbols the feed had lately over all replicas; None without Redis."""
        try:
            return self._store.distinct(feed)
        except StoreUnavailable as error:
            raise Unavailable(printable(f"Redis: {error}")) from None

    def _seen_here(self, feed: FeedKey | None) -> dict[FeedKey, Seen]:
        with self._loop.visits:
            known = self._loop.analysis.table.feeds
            keys = known if feed is None else known.keys() & {feed}
            return {key: Seen(dict(known[key].symbol_messages), dict(known[key].symbol_seen_ms)) for key in keys}

    def _seen_by_all(self, feed: FeedKey | None) -> dict[FeedKey, Seen]:
        try:
            rows = self._store.symbols(feed)
        except StoreUnavailable as error:
            raise Unavailable(printable(f"Redis: {error}")) from None
        messages: dict[FeedKey, dict[str, int]] = defaultdict(dict)
        last_ms: dict[FeedKey, dict[str, int]] = defaultdict(dict)
        for row in rows:
            messages[row.feed][row.symbol] = row.messages
            last_ms[row.feed][row.symbol] = row.last_seen_ms
        return {key: Seen(messages[key], last_ms[key]) for key in messages}

    def _symbol_rows(self, key: FeedKey, seen: Seen) -> Iterator[dict[str, object]]:
        """Rows of one feed; each that is known to be expected but never came is among them."""
        with self._loop.visits:
            feed = self._loop.analysis.table.feeds.get(key)
            statuses = _statuses(feed, seen.last_ms) if feed is not None and feed.partitions else {}
        for symbol in sorted(seen.last_ms.keys() | statuses.keys()):
            row: dict[str, object] = {**key._asdict(), "symbol": symbol, "messages": seen.messages.get(symbol, 0)}
            if symbol in seen.last_ms:
                row["last_seen_ms"] = seen.last_ms[symbol]
            if symbol in statuses:
                row["status"] = statuses[symbol]
            yield row


def _told(status: Status) -> Status:
    """Return the status with what brokers and servers say in it made fit for pages."""
    reasons, warnings = (tuple(printable(text, REASON_MAX) for text in texts) for texts in status[1:])
    return Status(status.ok, reasons, warnings)


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


def _statuses(feed: Feed, seen_ms: Mapping[str, int]) -> Mapping[str, SymbolStatus]:
    """Judge at the moment when the feed was heard last, by any replica: a silent feed misses no symbols."""
    heard_ms = max(feed.watch.freshness.last_heard_ms, max(seen_ms.values(), default=0))
    return feed.watch.coverage.statuses(seen_ms, heard_ms)
