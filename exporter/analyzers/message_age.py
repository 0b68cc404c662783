"""How old messages are when their collector sends them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from exporter.analyzers import Analyzer
from exporter.decoding.batch_stats import MIN_TIMESTAMP_MS
from exporter.instrument.families import Row, histogram, spelled

if TYPE_CHECKING:
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats
    from exporter.model import Anomaly, Arrival

AGE_BOUNDS_MS = (100, 250, 500, 1000, 2500, 5000, 10_000, 60_000, 300_000, 3_600_000)
_LE = spelled(bound / 1000 for bound in AGE_BOUNDS_MS)


class MessageAge(Analyzer):
    """The ages of the messages of one feed at the time of their batch, in milliseconds.

    `buckets` and `sum_ms` are a histogram over `AGE_BOUNDS_MS`. `newer` counts messages with a timestamp after their
    batch's: they have no age, and the stage from exchange to collector is negative.
    """

    __slots__ = ("buckets", "newer", "sum_ms")

    def __init__(self) -> None:
        self.buckets = [0] * (len(AGE_BOUNDS_MS) + 1)
        self.sum_ms = 0.0
        self.newer = 0

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """Observe each message of a live batch that has a timestamp."""
        stamps, sent = stats.stamps, batch.timestamp_ms
        if not stamps or sent < MIN_TIMESTAMP_MS or not arrival.is_live:
            return ()
        if stamps[-1] > sent:
            # The batch's timestamp is a whole number: a message of the same millisecond has the age 0.
            older, same = bisect_right(stamps, sent), bisect_left(stamps, sent + 1)
            self.newer += len(stamps) - same
            self.buckets[0] += same - older
            self._add(stamps[:older], sent, sum(stamps[:older]))
        else:
            self._add(stamps, sent, stats.stamp_sum)
        return ()

    def _add(self, stamps: Sequence[float], sent: int, stamp_sum: float) -> None:
        """Count timestamps by bucket: they are sorted, so each bucket takes one search rather than each timestamp."""
        if not stamps:
            return
        buckets, end = self.buckets, len(stamps)
        self.sum_ms += end * sent - stamp_sum
        last = bisect_left(AGE_BOUNDS_MS, sent - stamps[0])
        for bucket in range(bisect_left(AGE_BOUNDS_MS, sent - stamps[-1]), last):
            start = bisect_left(stamps, sent - AGE_BOUNDS_MS[bucket])
            buckets[bucket] += end - start
            end = start
        buckets[last] += end

    rows: ClassVar[tuple[Row[MessageAge], ...]] = (
        Row(
            "marketdata_message_age_seconds",
            "histogram",
            "Time from the timestamp of a message to that of its batch. Without messages newer than their batch.",
            histogram(_LE, lambda ages: (ages.buckets, ages.sum_ms / 1000)),
            "seconds",
        ),
    )
