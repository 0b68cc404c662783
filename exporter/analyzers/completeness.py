"""Feeds without prices or without timestamps: a format that is read, but not understood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Self

from exporter.analyzers import Analyzer
from exporter.decoding.contents import expects_prices
from exporter.model import Anomaly

if TYPE_CHECKING:
    from exporter.config.schema import Config, Thresholds
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats
    from exporter.instrument.families import Row
    from exporter.model import Arrival

# Single rows may lack one: so many in a row make a feed that has none. One that never had any needs no more than a row.
ROWS = 20


class Completeness(Analyzer):
    """Whether the rows of one feed have prices and timestamps, as far as feeds of its kind do.

    `unpriced` and `unstamped` are how many rows in a row had none, at most `ROWS`. Kinds that are `ignored` are not
    raised.
    """

    __slots__ = ("_ignored", "unpriced", "unstamped")

    rows: ClassVar[tuple[Row[Completeness], ...]] = ()
    meanings = MappingProxyType(
        {
            Anomaly.NO_PRICES: "no message has a price or a level, nor had one of the 20 before, on a feed whose kind "
            "has prices",
            Anomaly.NO_STAMPS: "no message has a `timestamp`, nor had one of the 20 before",
        }
    )

    def __init__(self, ignored: Iterable[str] = ()) -> None:
        self.unpriced = ROWS
        self.unstamped = ROWS
        self._ignored = frozenset(ignored)

    @classmethod
    def create(cls, config: Config, rule: Thresholds) -> Self:
        """See Analyzer."""
        return cls(rule.ignore_anomalies)

    def reconfigure(self, config: Config, rule: Thresholds) -> None:
        """See Analyzer."""
        self._ignored = frozenset(rule.ignore_anomalies)

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """See Analyzer; whether a batch is old makes no difference."""
        rows = stats.size
        if not rows:
            return ()
        is_priced = stats.is_priced  # the first row decides nearly always
        if is_priced and stats.stamped:
            self.unpriced = self.unstamped = 0
            return ()
        self.unpriced = 0 if is_priced else min(ROWS, self.unpriced + rows)
        # A timestamp that cannot be one is an anomaly of its own.
        has_stamps = stats.stamped > 0 or stats.implausible > 0
        self.unstamped = 0 if has_stamps else min(ROWS, self.unstamped + rows)
        return self._found(batch.request_type)

    def _found(self, request_type: str) -> Sequence[Anomaly]:
        found = []
        if self.unpriced == ROWS and Anomaly.NO_PRICES not in self._ignored and expects_prices(request_type):
            found.append(Anomaly.NO_PRICES)
        if self.unstamped == ROWS and Anomaly.NO_STAMPS not in self._ignored:
            found.append(Anomaly.NO_STAMPS)
        return found
