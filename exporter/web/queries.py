"""Queries of the web server: families, states and rows, from the state of the loop or from Redis."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily

from exporter.config.display import redacted
from exporter.config.schema import Config
from exporter.feeds.feed import Feed
from exporter.feeds.health import FeedHealth
from exporter.instrument.exposition import AnyFamily, Family
from exporter.instrument.selection import selection
from exporter.metrics.sidecar import SidecarMetrics
from exporter.model import FeedKey, Status
from exporter.page.page import LivePage
from exporter.page.watch import Watch
from exporter.runtime import logs
from exporter.runtime.foreign_text import printable, without_secrets
from exporter.status import SidecarStatus
from exporter.store.store import Store
from exporter.web.interface import Row, SymbolPage
from exporter.web.symbol_pages import SymbolPages

# Length of a broker's error text and the advice about it.
REASON_MAX = 600
SERIES = "marketdata_exporter_series"
WARNING_SECONDS = 3600.0

log = logs.logger("web")


class SidecarQueries:
    """Queries of one sidecar; see `exporter.web.interface.Queries`."""

    def __init__(
        self,
        config: Config,
        status: SidecarStatus,
        store: Store,
        metrics: SidecarMetrics,
        registry: CollectorRegistry,
        page: LivePage,
        warnings: Callable[[], tuple[str, ...]] = tuple,
        extend: Callable[[Sequence[AnyFamily]], list[AnyFamily]] = list,
    ) -> None:
        self._config = config
        self._status = status
        self._store = store
        self._metrics = metrics
        self._shown = selection(config.metrics)
        self._is_native = config.metrics.histograms == "native"
        self._warning_due = 0.0
        self._shows_series = self._shown.shows(SERIES, "gauge")
        self._registry = registry
        self._warnings = warnings
        self._symbols = SymbolPages(status, store)
        self._page = page
        self._extend = extend

    def use(self, config: Config) -> None:
        """Show another configuration as the one in force."""
        self._config = config

    def collect(self, is_protobuf: bool = False) -> list[AnyFamily]:
        """Return all families of the process that are shown; the last one is the number of their series."""
        if self._is_native and not is_protobuf:
            self._warn_of_text()
        found: list[AnyFamily] = [*self._metrics.collect(is_protobuf), *self._registry.collect()]
        shown = self._extend(self._shown.chosen(found))
        if not self._shows_series:
            return shown
        return [*shown, GaugeMetricFamily(SERIES, "Series on this page.", 1 + sum(map(_series, shown)))]

    def _warn_of_text(self) -> None:
        """Warn that a client does not get what there is, at most once in an hour."""
        if (now := monotonic()) >= self._warning_due:
            self._warning_due = now + WARNING_SECONDS
            log.warning("a client that accepts no protobuf got only counts and sums of native histograms")

    def series(self, is_protobuf: bool = False) -> int:
        """Return the number of series of all families."""
        return sum(map(_series, self.collect(is_protobuf)))

    def in_turn(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the pieces of a page, rendered in visits, although they need only processor time of the loop.

        Beside a computing loop a thread loses the interpreter every half millisecond, and on a busy machine regains it
        after several; in a visit it loses it once in four milliseconds.
        """
        return self._status.each(pieces, lambda piece: piece)

    def healthy(self) -> Status:
        """Return whether the loop turns."""
        return _printable_status(self._status.healthy())

    def ready(self) -> Status:
        """Return whether the figures are up to date."""
        status = self._status.ready()
        return _printable_status(status._replace(warnings=(*status.warnings, *self._warnings())))

    def config(self) -> Mapping[str, object]:
        """Return the configuration without its secrets."""
        shown: Any = without_secrets(redacted(self._config))
        return dict(shown)

    def feeds(self) -> FeedRows:
        """Return a row for each feed, in order, created while it is iterated."""
        return FeedRows(self._status)

    def feed(self, feed: FeedKey) -> Row | None:
        """Return the view of one feed, None for an unknown one."""
        return self._page.feed(feed)

    def history(self, feeds: Iterable[FeedKey]) -> Row:
        """Return the samples of the sidecar and of some feeds."""
        return self._page.history(feeds)

    def programs(self, program: str | None) -> Row | None:
        """Return the rows of all programs that push, or all of one; None for an unknown one, or without pushes."""
        return self._page.programs(program)

    def ingestion(self) -> Row | None:
        """Return what is known of ingesting services; None when their events are not read."""
        return self._page.ingestion()

    def watch(self) -> Watch:
        """Return the state as streams show it, for one worker thread."""
        return self._page.watch()

    def snapshot(self) -> bytes:
        """Return the JSON of the whole state as streams show it."""
        watch = self._page.watch()
        watch.tick(frozenset(), 0)
        return watch.snapshot()[1]

    def symbols(self, feed: FeedKey | None, after: str, limit: int) -> SymbolPage:
        """Return a row for each symbol: of all replicas when there is Redis, else what this process has seen."""
        return self._symbols.page(feed, after, limit)

    def distinct(self, feed: FeedKey) -> int | None:
        """Estimate the recent symbols of the feed over all replicas; None without Redis."""
        return self._store.distinct(feed)


class FeedRows(Collection[Row]):
    """Rows of the current feeds; iteration reads the state of the loop in short visits."""

    def __init__(self, status: SidecarStatus) -> None:
        self._feeds = sorted(status.feeds(), key=lambda feed: feed.key)
        self._status = status

    def __len__(self) -> int:
        return len(self._feeds)

    def __iter__(self) -> Iterator[Row]:
        return self._status.each(self._feeds, _feed_row)

    def __contains__(self, row: object) -> bool:
        return any(row == each for each in self)


def _printable_status(status: Status) -> Status:
    """Return the status with the texts of brokers and servers in it made printable."""
    reasons, warnings = (tuple(printable(text, REASON_MAX) for text in texts) for texts in status[1:])
    return Status(status.ok, reasons, warnings)


def _series(family: AnyFamily) -> int:
    """Return the number of series of a family on a page, which leaves out when counters were created."""
    if isinstance(family, Family):
        return family.series
    if family.type == "gauge":
        return len(family.samples)
    created = f"{family.name}_created"
    return sum([sample.name != created for sample in family.samples])


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
        row |= _state_row(feed.health)
    return row


def _state_row(health: FeedHealth) -> dict[str, object]:
    state, reasons, scope = health.diagnosis
    return {
        "state": state,
        "reasons": reasons,
        "scope": scope,
        "state_since_ms": health.state_since_ms,
        "silent_limit_seconds": health.freshness.silent_limit_ms / 1000,
    }
