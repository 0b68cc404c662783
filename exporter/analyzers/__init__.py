"""What is watched of each feed, one analyzer a subject. Members are pure and interchangeable: time is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats
    from exporter.model import Arrival


class Analyzer(Protocol):
    """Watches one feed. Each counted batch is observed once, in the order of its partition."""

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> None:
        """Take one batch into account."""
