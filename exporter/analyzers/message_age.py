"""How old messages are when their collector sends them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from exporter.analyzers import Analyzer
from exporter.decoding.batch import MIN_TIMESTAMP_MS
from exporter.instrument.families import Row, histogram
from exporter.instrument.histogram import Bounds
from exporter.instrument.native import ZERO_THRESHOLD, NativeBuckets
from exporter.instrument.selection import ALL, Selection, selection

if TYPE_CHECKING:
    from exporter.config.schema import Config, Thresholds
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats
    from exporter.model import Anomaly, Arrival

AGE_BOUNDS_MS = (100, 250, 500, 1000, 2500, 5000, 10_000, 60_000, 300_000, 3_600_000)
_BOUNDS = Bounds(AGE_BOUNDS_MS, per_unit=1000)
_NAME = "marketdata_message_age_seconds"


class MessageAge(Analyzer):
    """The ages of the messages of one feed at the time of their batch, in milliseconds.

    `histogram` is None where it is not shown. `newer` counts messages with a timestamp after their batch's: they have
    no age, and the stage from exchange to collector is negative.
    """

    __slots__ = ("histogram", "newer")

    def __init__(self, shown: Selection = ALL) -> None:
        self.histogram = shown.histogram(_NAME, _BOUNDS)
        self.newer = 0

    @classmethod
    def create(cls, config: Config, rule: Thresholds) -> Self:
        """See Analyzer."""
        return cls(selection(config.metrics))

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """Observe each message of a live batch that has a timestamp."""
        sent = batch.timestamp_ms
        if not stats.stamped or sent < MIN_TIMESTAMP_MS or not arrival.is_live:
            return ()
        histogram = self.histogram
        age_sum, newer = stats.count_ages(sent, AGE_BOUNDS_MS, [] if histogram is None else histogram.buckets)
        self.newer += newer
        if histogram is not None:
            histogram.sum += age_sum
            if histogram.native is not None:
                _fill_native(histogram.native, stats.stamps, sent)
        return ()

    rows: ClassVar[tuple[Row[MessageAge], ...]] = (
        histogram(
            _NAME,
            "Time from the timestamp of a message to that of its batch. Without messages newer than their batch.",
            lambda ages: ages.histogram,
            "seconds",
        ),
    )


def _fill_native(native: NativeBuckets, stamps: Sequence[float], sent: int) -> None:
    """Count sorted timestamps by native bucket, oldest first, with one search for each bucket that has some."""
    start, number = 0, bisect_left(stamps, sent + 1)
    while start < number:
        age = (sent - stamps[start]) / 1000
        if age <= ZERO_THRESHOLD:
            native.zeros += number - start
            break
        index = native.index(age)
        end = bisect_left(stamps, sent - 1000 * native.upper_bound(index - 1), start + 1)
        native.add_at(index, end - start)
        start = end
