"""The spread between the best bid and the best ask of order books."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from exporter.analyzers import Analyzer
from exporter.instrument.families import Row, histogram
from exporter.instrument.histogram import Bounds
from exporter.instrument.selection import ALL, Selection, selection

if TYPE_CHECKING:
    from exporter.config.schema import Config, Thresholds
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats
    from exporter.model import Anomaly, Arrival

# From a tenth of a basis point to a tenth of the price.
SPREAD_BOUNDS = (0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_BOUNDS = Bounds(SPREAD_BOUNDS)
_NAME = "marketdata_order_book_spread_ratio"


class Spread(Analyzer):
    """The spreads of one feed, as a ratio: (ask - bid) / mid, where mid is the mean of both.

    Observed are the books of live batches. A book without a positive bid below its ask has no spread: that it is
    crossed is an anomaly. `histogram` is None where it is not shown.
    """

    __slots__ = ("histogram",)

    needs_order_books = True

    def __init__(self, shown: Selection = ALL) -> None:
        self.histogram = shown.histogram(_NAME, _BOUNDS)

    @classmethod
    def create(cls, config: Config, rule: Thresholds) -> Self:
        """See Analyzer."""
        return cls(selection(config.metrics))

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """See Analyzer."""
        if arrival.is_live and self.histogram is not None:
            for ask, bid in stats.books:
                if 0 < bid < ask:
                    self.histogram.add(2 * (ask - bid) / (ask + bid))
        return ()

    rows: ClassVar[tuple[Row[Spread], ...]] = (
        histogram(
            _NAME,
            "Spread of the best bid and ask of the order books in live batches, as a ratio to their mean.",
            lambda spread: spread.histogram,
            "ratio",
        ),
    )
