"""Interfaces of a source of records: notifications about partitions, and counts for the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from exporter.kafka.positions import Start
from exporter.kafka.unreadable import Gap
from exporter.model import Partition


class RebalanceHandler(Protocol):
    """Receiver of notifications about partitions, called inside `take` and `close`."""

    def assigned(self, starts: Mapping[Partition, Start]) -> None:
        """Handle assigned partitions, each with its start and its end at this moment."""

    def revoked(self, partitions: list[Partition]) -> None:
        """Handle partitions that are about to be revoked; records read from them may still be committed."""

    def lost(self, partitions: list[Partition]) -> None:
        """Handle partitions that were lost already; nothing of them can be committed."""

    def vanished(self, partitions: list[Partition]) -> None:
        """Handle once assigned partitions that no longer exist: their topics were deleted."""

    def exhausted(self, partition: Partition, offset: int) -> None:
        """Handle a partition that has no record at or after the offset."""

    def unreadable(self, partition: Partition, gap: Gap, error: str, *, is_deadly: bool = False) -> None:
        """Handle a gap of unreadable records, which end the process if `is_deadly`; those after it are read next."""

    def held(self, partition: Partition, offset: int, error: str) -> None:
        """Handle a partition that stays before a record that ends processes; child processes read it."""

    def waiting(self) -> None:
        """Handle the start of a request to the brokers, whose answer may take some seconds."""


class SourceCounts:
    """Counts of rebalances and errors, for the metrics."""

    def __init__(self) -> None:
        self.rebalances = dict.fromkeys(("assigned", "revoked", "lost"), 0)
        # Two of some hundred codes: alerts use these, so their series exist before the first error.
        self.errors = dict.fromkeys(("_ALL_BROKERS_DOWN", "_TRANSPORT"), 0)
