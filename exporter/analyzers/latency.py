"""How long batches take from clock to clock: the exchange's, the collector's, the broker's, ours.

Four stamps give three hops and the whole way. A hop that comes out negative says that its later clock is behind its
earlier one; it is counted and kept for an estimate of how far, and it is in no histogram.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING

from exporter.decoding.batch_stats import MIN_TIMESTAMP_MS

if TYPE_CHECKING:
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats
    from exporter.model import Arrival

LATENCY_BOUNDS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)

# The last hops of which the typical one is taken: three odd ones among them neither make up a skew nor hide one.
RECENT_HOPS = 7


class Stage(StrEnum):
    """The part of a batch's way that a latency is about; a closed set."""

    EXCHANGE_TO_COLLECTOR = "exchange_to_collector"
    COLLECTOR_TO_BROKER = "collector_to_broker"
    BROKER_TO_SIDECAR = "broker_to_sidecar"
    END_TO_END = "end_to_end"


class Hop:
    """The times one stage took, in milliseconds.

    `buckets` and `sum_ms` are a histogram over `LATENCY_BOUNDS_MS` of those that are not negative; `skewed` counts the
    negative ones.
    """

    __slots__ = ("_recent", "buckets", "skewed", "sum_ms")

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENCY_BOUNDS_MS) + 1)
        self.sum_ms = 0.0
        self.skewed = 0
        # The last hops, as long as one of them is negative; what was not counts as 0 here.
        self._recent: deque[float] | None = None

    def add(self, taken_ms: float) -> None:
        """Observe one hop."""
        if taken_ms >= 0:
            self.buckets[bisect_left(LATENCY_BOUNDS_MS, taken_ms)] += 1
            self.sum_ms += taken_ms
            if self._recent is None:
                return
        else:
            self.skewed += 1
        self._remember(taken_ms)

    @property
    def skew_seconds(self) -> float:
        """How far the later clock is behind the earlier one, at least; 0 unless most recent hops are negative."""
        return abs(median(self._recent)) / 1000 if self._recent else 0.0

    def _remember(self, taken_ms: float) -> None:
        recent = self._recent or deque([0.0] * RECENT_HOPS, RECENT_HOPS)
        recent.append(min(taken_ms, 0.0))
        self._recent = recent if any(recent) else None


class Latency:
    """The stages of one feed.

    Only live batches are observed: one that we catch up on would measure our absence, and a replay its own age; those
    are counted in `catch_up`.
    `skipped` counts the stamps that cannot be times.
    """

    __slots__ = ("_broker", "_collector", "_end", "_sidecar", "catch_up", "hops", "skipped")

    def __init__(self) -> None:
        self.hops = {stage: Hop() for stage in Stage}
        self._collector, self._broker, self._sidecar, self._end = self.hops.values()
        self.catch_up = 0
        self.skipped = 0

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> None:
        """Observe each stage of which both ends are known; the exchange's stamp is the newest message's."""
        recorded, received, is_live = arrival.record_ms, arrival.received_ms, arrival.is_live
        if not is_live:
            self.catch_up += 1
            return
        collected = batch.timestamp_ms
        if collected < MIN_TIMESTAMP_MS or recorded < MIN_TIMESTAMP_MS or stats.implausible:
            self.skipped += stats.implausible
            collected, recorded = self._plausible(collected), self._plausible(recorded)
        if stats.stamps:
            newest = stats.stamps[-1]
            self._end.add(received - newest)
            if collected:
                self._collector.add(collected - newest)
        if recorded:
            self._sidecar.add(received - recorded)
            if collected:
                self._broker.add(recorded - collected)

    def _plausible(self, stamp_ms: int) -> int:
        """Return a stamp that can be a time, or 0."""
        if stamp_ms >= MIN_TIMESTAMP_MS:
            return stamp_ms
        self.skipped += stamp_ms != 0
        return 0
