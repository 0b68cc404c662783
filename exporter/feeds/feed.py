"""One feed: its counters, which last as long as the process, its last values, and its windows on partitions.

Owned by the loop thread. Counters are plain integers, and histograms are lists of them, because this is the hot path;
a scrape creates the families from them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container, Iterable

from exporter.config.schema import Limits
from exporter.decoding.batch_stats import BatchStats
from exporter.decoding.names import check_symbol
from exporter.feeds.health import FeedHealth, HealthSettings
from exporter.feeds.states import FeedState
from exporter.instrument.histogram import Bounds, Histogram
from exporter.model import Anomaly, Arrival, BatchResult, FeedKey, Partition, Reason, Rejected

COUNT_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
EFFICIENCY_BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_COUNTS, _EFFICIENCIES = Bounds(COUNT_BOUNDS), Bounds(EFFICIENCY_BOUNDS)
SIZE, UNIQUE, EFFICIENCY = (
    "marketdata_batch_size",
    "marketdata_batch_unique_symbols",
    "marketdata_batch_cache_efficiency_ratio",
)

# Buckets by table: the bucket of n is at [n], and all values larger than the last bound share the last entry.
_LARGEST = COUNT_BOUNDS[-1] + 1
_COUNT_BUCKET = tuple(bisect_left(COUNT_BOUNDS, n) for n in range(_LARGEST + 1))
_EFFICIENCY_BUCKET = (0, *(bisect_left(EFFICIENCY_BOUNDS, 1 / n) for n in range(1, _LARGEST + 1)))

# States of a feed that never had a batch.
_WITHOUT_BATCHES = (FeedState.SILENT, FeedState.REJECTED)
# A symbol that was in no batch for so long makes room for another at the limit on symbols.
SYMBOL_RETENTION_MS = 3_600_000
# A feed with so many batches, or with some over so long a time, is established: it is never forgotten.
ESTABLISHED_BATCHES = 100
ESTABLISHED_SPAN = 3, 3_600_000
# The name of any other may be an error of a collector: without a batch for so long, it is forgotten for a new feed.
IDLE_MS = 600_000


class Feed:
    """The counters and last values of one feed since the process started.

    `partitions` are the assigned partitions on which it was seen; while there are none another replica may own the
    feed, so the last values are not shown. `rejected_on` are the assigned partitions with rejected records that name
    it. `version` rises with every change of what is shown. `sizes`, `uniques` and `efficiencies` are None where they
    are not shown.
    """

    def __init__(self, key: FeedKey, health: FeedHealth) -> None:
        self.key = key
        self.health = health
        self.analyzers = health.analyzers
        self.partitions: set[Partition] = set()
        self.rejected_on: set[Partition] = set()
        self.began_ms = 0  # Unix ms of its first batch
        self.sizes = health.families.histogram(SIZE, _COUNTS)
        self.uniques = health.families.histogram(UNIQUE, _COUNTS)
        self.efficiencies = health.families.histogram(EFFICIENCY, _EFFICIENCIES)
        self.anomalies = dict.fromkeys(health.anomaly_kinds, 0)
        # Where each kind last occurred, and when it was found, in Unix ms.
        self.anomaly_places: dict[Anomaly, tuple[Partition, int, int]] = {}
        self.new_window: Callable[[], Window] = Window
        self._retire_due_ms = 0  # before that no symbol is old enough
        self._begin_counting()

    def _begin_counting(self) -> None:
        """Set what each batch changes; the native core has that elsewhere."""
        self.version = 0
        self.counted_ms = 0  # Unix ms of the last batch that was counted
        self.batches = 0
        self.messages = 0
        self._plain = _plain(self.sizes, self.uniques, self.efficiencies)
        self.last: BatchResult | None = None
        self.last_batch_ms = 0
        self.last_message_ms = 0
        self.last_received_ms = 0
        self.symbol_messages: Counter[str] = Counter()
        self.symbol_seen_ms: dict[str, int] = {}

    def touch(self) -> None:
        """Mark what is shown of the feed as changed."""
        self.version += 1

    def reconfigure(self, settings: HealthSettings, limits: Limits, now_ms: int) -> None:
        """Put other settings in force; symbols beyond a lowered limit go if they were not seen for long."""
        self.health.reconfigure(settings, self.symbol_messages)
        # What was counted stays, also of kinds that are ignored now.
        counted, kinds = self.anomalies, self.health.anomaly_kinds
        self.anomalies = {kind: counted.get(kind, 0) for kind in Anomaly if kind in kinds or counted.get(kind)}
        if self.symbol_count > limits.symbols_per_feed:
            self.retire_symbols(now_ms, ())
        self.touch()

    def hold(self, partition: Partition, now_ms: int) -> None:
        """Add an assigned partition on which the feed arrives."""
        if not self.partitions:
            self.health.begin(now_ms)
        self.began_ms = self.began_ms or now_ms
        self.partitions.add(partition)
        self.touch()

    def release(self, partition: Partition) -> None:
        """Remove a partition that is no longer assigned."""
        self.partitions.discard(partition)
        self.rejected_on.discard(partition)
        self.touch()
        if not self.is_here:
            self.health.end()

    def reject(self, rejected: Rejected, partition: Partition, offset: int, now_ms: int) -> None:
        """Add a rejected record that names the feed."""
        self.rejected_on.add(partition)
        self.health.reject(rejected, partition, offset, now_ms)

    @property
    def is_here(self) -> bool:
        """Whether records of it, valid or not, arrive on assigned partitions."""
        return bool(self.partitions or self.rejected_on)

    @property
    def is_unused(self) -> bool:
        """Whether it is neither expected nor was ever counted or rejected here."""
        return not (self.health.is_expected or self.began_ms or self.is_here)

    @property
    def has_state(self) -> bool:
        """Whether its state may be shown: it is owned, or expected and nowhere, or never valid."""
        return bool(self.partitions) or self.health.state in _WITHOUT_BATCHES

    def admit(self, symbols: set[str], limits: Limits, now_ms: int) -> None:
        """Make room for the symbols, or raise `Rejected` when one is not allowed or there are too many."""
        new = self.unknown(symbols)
        for symbol in new:
            check_symbol(symbol, limits.name_length)
        if self.symbol_count + len(new) > limits.symbols_per_feed:
            self.retire_symbols(now_ms, keep=symbols)
        if new and self.symbol_count + len(new) > limits.symbols_per_feed:
            known = f"{self.symbol_count} symbols are known, at most {limits.symbols_per_feed} are allowed"
            raise Rejected(Reason.TOO_MANY_SYMBOLS, f"{len(new)} new symbols for {self.key}; {known}")

    @property
    def symbol_count(self) -> int:
        """The number of symbols that are known."""
        return len(self.symbol_seen_ms)

    def unknown(self, symbols: set[str]) -> set[str]:
        """Return those of the symbols that are not known."""
        return symbols - self.symbol_seen_ms.keys()

    def count(
        self, stats: BatchStats, arrival: Arrival, place: tuple[Partition, int], *, is_admitted: bool = True
    ) -> bool:
        """Add one batch to the counters, analyze and remember it; `place` is the partition and offset of its record.

        Without `is_admitted` nothing is done, and False returned, for a batch with symbols that are not known: `admit`
        has to allow them.
        """
        # Nearly always all symbols are known, and this comparison is then the whole cost.
        if not is_admitted and not stats.is_within(self.symbol_seen_ms):
            return False
        size, unique, efficiency, _ = stats.result
        self.counted_ms = arrival.received_ms
        self.batches += 1
        self.messages += size
        if self._plain is None:
            self._observe(stats.result)
        else:  # as `Histogram.add`, with tables in the place of searches
            sizes, uniques, efficiencies = self._plain
            sizes.sum += size
            uniques.sum += unique
            efficiencies.sum += efficiency
            sizes.buckets[_COUNT_BUCKET[size if size < _LARGEST else _LARGEST]] += 1
            entry = unique if unique < _LARGEST else _LARGEST
            uniques.buckets[_COUNT_BUCKET[entry]] += 1
            efficiencies.buckets[_EFFICIENCY_BUCKET[entry]] += 1
        stats.count_messages(self.symbol_messages)
        arrival, anomalies = self.analyzers.observe(stats.batch, stats, arrival)
        for kind in anomalies:
            self._note(kind, place, arrival.received_ms)
        # As `Arrival.sent_ms`: calls are what costs here.
        return self.remember(stats, arrival.received_ms if arrival.is_live else arrival.record_ms)

    def _note(self, kind: Anomaly, place: tuple[Partition, int], now_ms: int) -> None:
        self.anomalies[kind] += 1
        self.anomaly_places[kind] = (*place, now_ms)

    def _observe(self, result: BatchResult) -> None:
        """Add one batch to the histograms that are shown, of whatever kind."""
        size, unique, efficiency, _ = result
        for histogram, value in ((self.sizes, size), (self.uniques, unique), (self.efficiencies, efficiency)):
            if histogram is not None:
                histogram.add(value)

    def remember(self, stats: BatchStats, sent_ms: int, *, is_admitted: bool = True) -> bool:
        """Keep the values of the last batch, counted or not; `sent_ms` is when it was sent, in Unix milliseconds.

        A batch older than the last one changes nothing: while a partition is caught up, old values are not shown.
        `is_admitted` as in `count`.
        """
        if not is_admitted and not stats.is_within(self.symbol_seen_ms):
            return False
        self.touch()
        if sent_ms < self.last_received_ms:
            stats.mark_seen(self.symbol_seen_ms, sent_ms)
            return True
        # No symbol was seen later; this takes half the time of asking each.
        self.symbol_seen_ms.update(dict.fromkeys(stats.symbols, sent_ms))
        self.last = stats.result
        self.last_batch_ms = max(self.last_batch_ms, stats.batch.timestamp_ms)
        self.last_received_ms = sent_ms
        if stats.newest > self.last_message_ms:
            self.last_message_ms = int(stats.newest)
        return True

    def set_back(self, now_ms: int) -> None:
        """Let no time be later than `now_ms`: the clock was set back."""
        self.began_ms, self._retire_due_ms = min(self.began_ms, now_ms), min(self._retire_due_ms, now_ms)
        self._set_counting_back(now_ms)
        self.health.set_back(now_ms)
        self.touch()

    def _set_counting_back(self, now_ms: int) -> None:
        self.counted_ms, self.last_received_ms = min(self.counted_ms, now_ms), min(self.last_received_ms, now_ms)
        self.symbol_seen_ms.update((s, now_ms) for s, seen in list(self.symbol_seen_ms.items()) if seen > now_ms)

    @property
    def is_established(self) -> bool:
        """Whether it is expected, or had so many batches that its name is no error."""
        batches, span_ms = ESTABLISHED_SPAN
        has_lasted = self.batches >= batches and self.counted_ms - self.began_ms >= span_ms
        return self.health.is_expected or self.batches >= ESTABLISHED_BATCHES or has_lasted

    def is_idle(self, now_ms: int) -> bool:
        """Return whether it may make room for another feed."""
        return 0 < max(self.counted_ms, self.began_ms) < now_ms - IDLE_MS and not self.is_established

    def retire_symbols(self, now_ms: int, keep: Container[str]) -> int:
        """Forget the symbols not seen for long, except those to `keep`; return their number."""
        # Each search examines all symbols, and records with too many new ones may arrive at any rate.
        if now_ms <= self._retire_due_ms:
            return 0
        oldest = now_ms - SYMBOL_RETENTION_MS
        others = [(s, seen) for s, seen in self.symbol_seen_ms.items() if s not in keep]
        retired = [s for s, seen in others if seen < oldest]
        self._retire_due_ms = min((seen for _, seen in others if seen >= oldest), default=0) + SYMBOL_RETENTION_MS
        self._forget(retired)
        return len(retired)

    def _forget(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            del self.symbol_seen_ms[symbol], self.symbol_messages[symbol]
        self.analyzers.forget_symbols(symbols)


def _plain(*histograms: Histogram | None) -> tuple[Histogram, Histogram, Histogram] | None:
    """Return the three histograms if all of them are shown and have classic buckets only, as they have by default."""
    sizes, uniques, efficiencies = (each if each is not None and each.native is None else None for each in histograms)
    if sizes is None or uniques is None or efficiencies is None:
        return None
    return sizes, uniques, efficiencies


class Window:
    """Sums of the batches of one feed on one partition since its last summary."""

    __slots__ = ("batches", "efficiency_sum", "messages", "unique_sum")

    def __init__(self) -> None:
        self.batches = 0
        self.messages = 0
        self.unique_sum = 0
        self.efficiency_sum = 0.0

    def add(self, stats: BatchStats) -> None:
        """Add one batch."""
        size, unique, efficiency, _ = stats.result
        self.batches += 1
        self.messages += size
        self.unique_sum += unique
        self.efficiency_sum += efficiency

    def merge(self, other: Window) -> None:
        """Add the sums of another window."""
        self.batches += other.batches
        self.messages += other.messages
        self.unique_sum += other.unique_sum
        self.efficiency_sum += other.efficiency_sum


class PartitionFeed:
    """A feed on one partition, and its window there."""

    __slots__ = ("feed", "window")

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.window = feed.new_window()
