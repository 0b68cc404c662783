"""No events: positions are committed at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from confluent_kafka import TopicPartition

from exporter.events.factory import Event
from exporter.kafka.positions import Position
from exporter.model import Partition
from exporter.publishing.channels.channel import CommitResult
from exporter.publishing.channels.kafka import (
    topic_partitions,
)


class NullChannel:
    """Publishes nothing; the positions are stored as if it had."""

    alive_at = 0.0

    def __init__(self, store: Callable[[list[TopicPartition]], None]) -> None:
        self._store = store

    def open(self) -> None:
        """Nothing to open."""

    def begin(self) -> None:
        """Nothing to begin."""

    def send(self, events: list[Event], start: int) -> tuple[int, list[Event]]:
        """Take everything."""
        return len(events), []

    def seal(self, positions: Mapping[Partition, Position], group: object, commit: bool) -> CommitResult:
        """Nothing can fail."""
        return CommitResult.COMMITTED if commit else CommitResult.ABORTED

    def committed(self, positions: Mapping[Partition, Position]) -> None:
        """Store the offsets; the consumer commits what is stored."""
        self._store(topic_partitions(positions))

    def close(self) -> None:
        """Nothing to close."""
