"""A consumer whose group assigns eagerly, with the calls of one whose group assigns cooperatively."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import OFFSET_INVALID, TopicPartition


class EagerConsumer:
    """Consumer of which an assignment replaces the one before, as an eager strategy such as range demands.

    What is added or taken away leaves the positions of the others as they are; all other calls are the consumer's.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._begun: dict[tuple[str, int], int] = {}  # where each assigned partition began

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def subscribe(self, topics: list[str], **callbacks: Callable[[EagerConsumer, list[TopicPartition]], None]) -> None:
        """Join the group; the callbacks get this consumer."""

        def of_this(call: Callable[[EagerConsumer, list[TopicPartition]], None]) -> Callable[..., None]:
            return lambda _, partitions: call(self, partitions)

        self._consumer.subscribe(topics, **{name: of_this(call) for name, call in callbacks.items()})

    def incremental_assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these partitions, too, from their offsets on."""
        added = {(each.topic, each.partition): each.offset for each in partitions}
        self._assign(self._positions() | added)

    def incremental_unassign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these partitions no longer."""
        gone = {(each.topic, each.partition) for each in partitions}
        self._assign({name: offset for name, offset in self._positions().items() if name not in gone})

    def _positions(self) -> dict[tuple[str, int], int]:
        """Return the next offset of each assigned partition."""
        positions = self._consumer.position([TopicPartition(*name) for name in self._begun]) if self._begun else []
        found = {(each.topic, each.partition): each.offset for each in positions if each.offset != OFFSET_INVALID}
        return self._begun | found

    def _assign(self, offsets: dict[tuple[str, int], int]) -> None:
        self._begun = offsets
        if offsets:
            self._consumer.assign([TopicPartition(*name, offset) for name, offset in offsets.items()])
        else:
            self._consumer.unassign()
