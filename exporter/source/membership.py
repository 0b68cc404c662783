"""The consumer as a member of its group: assignment, pausing, committed offsets, end offsets, leaving."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from exporter.kafka.connection_errors import error_text
from exporter.kafka.positions import Position, Start
from exporter.model import Partition
from exporter.runtime import logs
from exporter.source.isolation import Isolation
from exporter.source.offsets import committed

log = logs.logger("source")


class Membership:
    """Operations on the present consumer, `_consumer`, which is None until there is one. Loop thread only.

    Partitions in `isolation` are assigned to this member, but child processes read them.
    """

    def __init__(self, isolation: Isolation) -> None:
        self.paused = False
        self._consumer: Any = None
        self._isolation = isolation

    def pause(self) -> None:
        """Stop fetching but stay in the group, as long as the consumer is polled."""
        self._consumer.pause(self._consumer.assignment())
        self.paused = True

    def resume(self) -> None:
        """Fetch again."""
        self._consumer.resume(self._consumer.assignment())
        self.paused = False

    def metadata(self) -> object:
        """Return this consumer's membership of the group, for a transaction."""
        return self._consumer.consumer_group_metadata()

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, Position]:
        """Return the committed positions of the group; raise `TimeoutError` when they are unavailable."""
        found = committed(self._consumer, partitions)
        return {partition: Position.committed(*commit, now_ms=sys.maxsize) for partition, commit in found.items()}

    def store(self, offsets: list[TopicPartition]) -> None:
        """Store offsets for the consumer to commit; those of partitions that are no longer assigned are ignored."""
        assigned = {(tp.topic, tp.partition) for tp in self._consumer.assignment()}
        if own := [offset for offset in offsets if (offset.topic, offset.partition) in assigned]:
            self._consumer.store_offsets(offsets=own)
        # The consumer does not read isolated partitions, so it cannot store their offsets.
        if isolated := [offset for offset in offsets if Partition(offset.topic, offset.partition) in self._isolation]:
            self._consumer.commit(offsets=isolated, asynchronous=True)

    def high_watermarks(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the end offsets that the last fetches contained; 0 or less, or absent, while none did."""
        return {
            partition: self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]
            for partition in partitions
            if partition not in self._isolation
        }

    def close(self, seconds: float) -> bool:
        """Leave the group; wait up to `seconds`, and return whether it was left."""
        if self._consumer is None:
            return True
        closing = self._close_in_background()
        closing.join(seconds)
        return not closing.is_alive()

    def _close_in_background(self) -> threading.Thread:
        # close() may never return when brokers are lost at the wrong moment (librdkafka #3740).
        closing = threading.Thread(target=self._consumer.close, name="consumer-close", daemon=True)
        closing.start()
        return closing

    def _read_by_consumer(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        """Return the partitions that are not isolated."""
        return [TopicPartition(*partition) for partition in partitions if partition not in self._isolation]


def commit_starts(consumer: Any, starts: Mapping[Partition, Start]) -> None:
    """Commit the number of starts at these positions before reading: a commit after it may come too late.

    The positions are those that the group has just answered, which no transaction changes any more.
    """
    counted = [
        TopicPartition(*partition, start.position.offset, start.position.metadata)
        for partition, start in starts.items()
        if start.position.starts
    ]
    if not counted:
        return
    try:
        consumer.commit(offsets=counted, asynchronous=False)
    except KafkaException as error:
        log.warning(
            "cannot commit the start of partitions, so it does not count if reading them ends the process",
            extra={"error": error_text(error)},
        )
