"""What one feed did on one partition since its last summary. Pure."""

from __future__ import annotations

from exporter.model import BatchResult


class Window:
    """What one feed did on one partition since its last summary."""

    __slots__ = ("batches", "efficiency_sum", "messages", "unique_sum")

    def __init__(self) -> None:
        self.batches = 0
        self.messages = 0
        self.unique_sum = 0
        self.efficiency_sum = 0.0

    def add(self, result: BatchResult) -> None:
        """Add one batch."""
        self.batches += 1
        self.messages += result.batch_size
        self.unique_sum += result.unique_symbols
        self.efficiency_sum += result.cache_efficiency

    def merge(self, other: Window) -> None:
        """Add all that another window holds."""
        self.batches += other.batches
        self.messages += other.messages
        self.unique_sum += other.unique_sum
        self.efficiency_sum += other.efficiency_sum
