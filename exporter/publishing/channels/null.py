"""A channel without events: it only stores positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from confluent_kafka import TopicPartition

from exporter.events.factory import Event
from exporter.kafka.positions import Position
from exporter.model import Partition
from exporter.publishing.channels import CommitResult
from exporter.publishing.channels.kafka import topic_partitions


class NullChannel:
    """A channel that publishes no events and stores the positions."""

    alive_at = 0.0

    def __init__(self, store: Callable[[list[TopicPartition]], None]) -> None:
        self._store = store

    def open(self) -> None:
        """Do nothing."""

    def begin(self) -> None:
        """Do nothing."""

    def send(self, events: list[Event], start: int) -> tuple[int, list[Event]]:
        """Accept all events and drop them."""
        return len(events), []

    def commit(self, positions: Mapping[Partition, Position], group: object) -> CommitResult:
        """Return success."""
        return CommitResult.COMMITTED

    def abort(self) -> CommitResult:
        """Return that the transaction is aborted."""
        return CommitResult.ABORTED

    def store_offsets(self, positions: Mapping[Partition, Position]) -> None:
        """Store the offsets; the consumer commits what is stored."""
        self._store(topic_partitions(positions))

    def close(self) -> None:
        """Do nothing."""
