"""How long batches take from clock to clock: the exchange's, the collector's, the broker's, the sidecar's.

Four timestamps give three stages and their total. A negative stage means that its later clock is behind its earlier
one: it is counted, used for an estimate of the difference, and left out of the histograms.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING, ClassVar, Self

from exporter.analyzers import Analyzer
from exporter.decoding.batch import MIN_TIMESTAMP_MS
from exporter.instrument.families import Row, counter, histogram, histograms
from exporter.instrument.histogram import Bounds, Histogram
from exporter.instrument.selection import ALL, Selection, selection

if TYPE_CHECKING:
    from exporter.config.schema import Config, Thresholds
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats
    from exporter.model import Anomaly, Arrival

LATENCY_BOUNDS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)
_BOUNDS = Bounds(LATENCY_BOUNDS_MS, per_unit=1000)
_STAGES, _END_TO_END = "marketdata_stage_latency_seconds", "marketdata_end_to_end_latency_seconds"

# The skew is the median of so many hops: three outliers among them neither make up a skew nor hide one.
RECENT_HOPS = 7


class Stage(StrEnum):
    """The part of a batch's way that a latency is about; a closed set."""

    EXCHANGE_TO_COLLECTOR = "exchange_to_collector"
    COLLECTOR_TO_BROKER = "collector_to_broker"
    BROKER_TO_SIDECAR = "broker_to_sidecar"
    END_TO_END = "end_to_end"


_PARTS = tuple(stage for stage in Stage if stage is not Stage.END_TO_END)


class Hop(Histogram):
    """The durations of one stage, in milliseconds: those that are not negative; `skewed` counts the others.

    It has no buckets where they are not shown.
    """

    __slots__ = ("_recent", "skewed")

    def __init__(self, *, is_classic: bool = True, is_native: bool = False) -> None:
        super().__init__(_BOUNDS, is_classic=is_classic, is_native=is_native)
        self.skewed = 0
        # The last hops while one of them is negative, else None; a hop that is not negative counts as 0 here.
        self._recent: deque[float] | None = None

    @property
    def histogram(self) -> Histogram | None:
        """The histogram, None where it is not shown."""
        return self if self.buckets or self.native is not None else None

    def add_hop(self, taken_ms: float) -> None:
        """Observe one hop, of any sign."""
        if taken_ms >= 0:
            # As `add`: a call is half of what this costs.
            self.sum += taken_ms
            if self.buckets:
                self.buckets[bisect_left(LATENCY_BOUNDS_MS, taken_ms)] += 1
            if self.native is not None:
                self.native.add(taken_ms / 1000)
            if self._recent is None:
                return
        else:
            self.skewed += 1
        self._remember(taken_ms)

    @property
    def skew_seconds(self) -> float:
        """Least lag of the later clock behind the earlier one; 0 unless most recent hops are negative."""
        return abs(median(self._recent)) / 1000 if self._recent else 0.0

    def _remember(self, taken_ms: float) -> None:
        recent = self._recent or deque([0.0] * RECENT_HOPS, RECENT_HOPS)
        recent.append(min(taken_ms, 0.0))
        self._recent = recent if any(recent) else None


class Latency(Analyzer):
    """The stages of one feed.

    Only live batches are observed: the latency of one that was read late would be the time for which this process did
    not read, that of a replay the age of its data. `catch_up` counts these. `skipped` counts the timestamps that cannot
    be times.
    """

    __slots__ = ("_broker", "_collector", "_end", "_sidecar", "catch_up", "hops", "skipped")

    def __init__(self, shown: Selection = ALL) -> None:
        names = {stage: _END_TO_END if stage is Stage.END_TO_END else _STAGES for stage in Stage}
        kinds = {stage: shown.buckets(name) for stage, name in names.items()}
        self.hops = {stage: Hop(is_classic=kind[0], is_native=kind[1]) for stage, kind in kinds.items()}
        self._collector, self._broker, self._sidecar, self._end = self.hops.values()
        self.catch_up = 0
        self.skipped = 0

    @classmethod
    def create(cls, config: Config, rule: Thresholds) -> Self:
        """See Analyzer."""
        return cls(selection(config.metrics))

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """Observe each stage of which both ends are known; the exchange's timestamp is the newest message's."""
        recorded, received, is_live = arrival.record_ms, arrival.received_ms, arrival.is_live
        if not is_live:
            self.catch_up += 1
            return ()
        collected = batch.timestamp_ms
        if collected < MIN_TIMESTAMP_MS or recorded < MIN_TIMESTAMP_MS or stats.implausible:
            self.skipped += stats.implausible
            collected, recorded = self._plausible(collected), self._plausible(recorded)
        if stats.stamped:
            # Whole, as the other three are: a fraction would make a stage within one millisecond negative.
            newest = int(stats.newest)
            self._end.add_hop(received - newest)
            if collected:
                self._collector.add_hop(collected - newest)
        if recorded:
            self._sidecar.add_hop(received - recorded)
            if collected:
                self._broker.add_hop(recorded - collected)
        return ()

    def _plausible(self, stamp_ms: int) -> int:
        """Return a timestamp that can be a time, or 0."""
        if stamp_ms >= MIN_TIMESTAMP_MS:
            return stamp_ms
        self.skipped += stamp_ms != 0
        return 0

    def _stages(self) -> Iterable[tuple[str, Histogram]]:
        found = [(stage, self.hops[stage].histogram) for stage in _PARTS]
        return [(f',stage="{stage}"', histogram) for stage, histogram in found if histogram is not None]

    def _skewed(self, name: str, labels: str) -> str:
        return "".join([f'{name}_total{{{labels},stage="{stage}"}} {hop.skewed}\n' for stage, hop in self.hops.items()])

    def _skews(self, name: str, labels: str) -> str:
        return "".join([f'{name}{{{labels},stage="{stage}"}} {hop.skew_seconds}\n' for stage, hop in self.hops.items()])

    rows: ClassVar[tuple[Row[Latency], ...]] = (
        histograms(
            _STAGES,
            "Time between two clocks, of live batches: newest message, batch, record, analysis. Without negative ones.",
            _stages,
            "seconds",
        ),
        histogram(
            _END_TO_END,
            "Time from the newest message of a live batch to its analysis. Without negative ones.",
            lambda latency: latency.hops[Stage.END_TO_END].histogram,
            "seconds",
        ),
        Row("marketdata_clock_skew", "counter", "Stages with a negative duration.", _skewed),
        Row(
            "marketdata_clock_skew_seconds",
            "gauge",
            "Least difference by which the later clock of a stage is behind the earlier one.",
            _skews,
            "seconds",
        ),
        Row(
            "marketdata_catch_up_batches",
            "counter",
            "Batches that were old when they were read, or replays; left out of latencies, intervals and states.",
            counter(lambda latency: latency.catch_up),
        ),
    )
