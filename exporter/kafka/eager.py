"""A consumer whose group assigns eagerly, with the calls of one whose group assigns cooperatively."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import OFFSET_INVALID, TopicPartition

Callback = Callable[["EagerConsumer", list[TopicPartition]], None]


class EagerConsumer:
    """Consumer of which an assignment replaces the one before, as an eager strategy such as range demands.

    What is added or taken away leaves the positions of the others as they are; all other calls are the consumer's.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._begun: dict[tuple[str, int], int] = {}  # where each assigned partition began
        self._assigned: list[TopicPartition] = []  # by the group; begun or not
        self._is_revoking = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def subscribe(self, topics: list[str], *, on_assign: Callback, on_revoke: Callback, on_lost: Callback) -> None:
        """Join the group; the callbacks get this consumer."""

        def assigned(partitions: list[TopicPartition]) -> None:
            # In a rebalance the client revokes nothing while no partition is read.
            if self._assigned:
                self._revoke(on_revoke, self._assigned)
            self._assigned = partitions
            on_assign(self, partitions)

        self._consumer.subscribe(
            topics,
            on_assign=lambda _, partitions: assigned(partitions),
            on_revoke=lambda _, partitions: self._revoke(on_revoke, partitions),
            on_lost=lambda _, partitions: self._revoke(on_lost, partitions),
        )

    def _revoke(self, callback: Callback, partitions: list[TopicPartition]) -> None:
        self._assigned, self._is_revoking = [], True
        try:
            callback(self, partitions)
        finally:
            self._is_revoking = False

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
        # Anywhere else `unassign` would not confirm an assignment that is taken up later.
        if self._is_revoking and not offsets:
            self._consumer.unassign()
        else:
            self._consumer.assign([TopicPartition(*name, offset) for name, offset in offsets.items()])
