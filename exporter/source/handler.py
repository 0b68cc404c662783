"""What a source of records tells: partitions that come and go to the loop, and counts to a scrape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from exporter.kafka.positions import Start
from exporter.kafka.unreadable import Gap
from exporter.model import Partition


class Handler(Protocol):
    """Whom the source tells that partitions come and go; called inside `take` and `close`."""

    def assigned(self, starts: Mapping[Partition, Start]) -> None:
        """Partitions are ours now, each with where it begins and ends at this moment."""

    def revoked(self, partitions: list[Partition]) -> None:
        """Partitions are about to go; what is read of them may still be committed."""

    def lost(self, partitions: list[Partition]) -> None:
        """Partitions are gone already."""

    def vanished(self, partitions: list[Partition]) -> None:
        """Partitions that we have, or had, are gone with their topics."""

    def exhausted(self, partition: Partition, offset: int) -> None:
        """The broker has no record of the partition at or after the offset."""

    def unreadable(self, partition: Partition, gap: Gap, error: str, *, is_deadly: bool = False) -> None:
        """Records of a partition of ours cannot be read, or end the process; what follows them is read next."""

    def held(self, partition: Partition, offset: int, error: str) -> None:
        """A partition of ours stays at a place that ends processes; what comes next is careful there."""

    def waiting(self) -> None:
        """The broker is about to be asked; the answer may take some seconds."""


class SourceCounts:
    """What happened to the consumer, for whoever scrapes."""

    def __init__(self) -> None:
        self.rebalances = dict.fromkeys(("assigned", "revoked", "lost"), 0)
        # librdkafka has some hundred codes; these two are the ones that anybody waits for.
        self.errors = dict.fromkeys(("_ALL_BROKERS_DOWN", "_TRANSPORT"), 0)
