"""The spread between the best bid and the best ask of order books."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from exporter.analyzers import Analyzer
from exporter.instrument.families import Row, histogram, spelled

if TYPE_CHECKING:
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats
    from exporter.model import Anomaly, Arrival

# From a tenth of a basis point to a tenth of the price.
SPREAD_BOUNDS = (0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_LE = spelled(SPREAD_BOUNDS)


class Spread(Analyzer):
    """The spreads of one feed, as a ratio: (ask - bid) / mid, where mid is the mean of both.

    Observed are the books of live batches. A book without a positive bid below its ask has no spread: that it is
    crossed is an anomaly. `buckets` and `sum` are a histogram over `SPREAD_BOUNDS`.
    """

    __slots__ = ("buckets", "sum")

    needs_order_books = True

    def __init__(self) -> None:
        self.buckets = [0] * (len(SPREAD_BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """See Analyzer."""
        if arrival.is_live:
            for ask, bid in stats.books:
                if 0 < bid < ask:
                    ratio = 2 * (ask - bid) / (ask + bid)
                    self.buckets[bisect_left(SPREAD_BOUNDS, ratio)] += 1
                    self.sum += ratio
        return ()

    rows: ClassVar[tuple[Row[Spread], ...]] = (
        Row(
            "marketdata_order_book_spread_ratio",
            "histogram",
            "Spread of the best bid and ask of the order books in live batches, as a ratio to their mean.",
            histogram(_LE, lambda spread: (spread.buckets, spread.sum)),
            "ratio",
        ),
    )
