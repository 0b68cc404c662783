"""What is asked of the broker about offsets: what a group has committed, and where a partition is to be begun.

Every question blocks for some seconds at most; `TimeoutError` and `KafkaException` mean that it may be asked again.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import OFFSET_INVALID, KafkaException, TopicPartition

from exporter.configuration.config import InputConfig
from exporter.delivery.dispatch import Position, Start
from exporter.model import Partition

log = logging.getLogger("exporter.source")

ASK_SECONDS = 5.0
LOOK_SECONDS = 1.0


def committed(consumer: Any, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, str | None]]:
    """Return the offset and metadata that the consumer's group has committed; a partition without any is absent.

    Read-committed consumers are answered once no transaction is pending that may still change the offsets.
    """
    asked = [TopicPartition(*partition) for partition in partitions]
    if not asked:
        return {}
    try:
        answers = consumer.committed(asked, timeout=ASK_SECONDS)
    except KafkaException as error:
        raise TimeoutError(str(error.args[0])) from error
    failed = next((tp.error for tp in answers if tp.error is not None), None)
    if failed is not None:
        raise TimeoutError(str(failed))
    return {Partition(tp.topic, tp.partition): (tp.offset, tp.metadata) for tp in answers if tp.offset > OFFSET_INVALID}


class Offsets:
    """Where partitions are begun. `at_start` are those that there were before we joined the group."""

    def __init__(self, settings: InputConfig) -> None:
        self.at_start: set[Partition] = set()
        self._settings = settings
        self._group_was_new = False

    def look_around(self, consumer: Any) -> None:
        """See what there is before joining the group: only so a later partition can be told from a new group."""
        self.at_start = self._matching(consumer)
        self._group_was_new = not committed(consumer, self.at_start)

    def starts(self, consumer: Any, partitions: Iterable[Partition]) -> dict[Partition, Start]:
        """Return where each partition is begun and where it ends now."""
        known = committed(consumer, partitions)
        return {partition: self._start(consumer, partition, known.get(partition)) for partition in partitions}

    def _matching(self, consumer: Any) -> set[Partition]:
        """Return the partitions of all topics that the subscription means."""
        patterns = [re.compile(topic) for topic in self._settings.topics if topic.startswith("^")]
        names = set(self._settings.topics)
        return {
            Partition(name, number)
            for name, topic in consumer.list_topics(timeout=LOOK_SECONDS).topics.items()
            if name in names or any(pattern.match(name) for pattern in patterns)
            for number in topic.partitions
        }

    def _start(self, consumer: Any, partition: Partition, known: tuple[int, str | None] | None) -> Start:
        low, high = consumer.get_watermark_offsets(TopicPartition(*partition), timeout=ASK_SECONDS)
        position = self._position(partition, known, low, high)
        warm = min(position.summarized, position.offset - self._settings.warm_start)
        return Start(position, max(low, warm), high)

    def _position(self, partition: Partition, known: tuple[int, str | None] | None, low: int, high: int) -> Position:
        now_ms = time.time_ns() // 1_000_000
        if known is None:
            is_new = self._group_was_new and partition in self.at_start
            offset = high if is_new and self._settings.start == "latest" else low
            return Position(offset, offset, now_ms)
        position = Position.committed(*known, now_ms)
        if position.offset <= high:
            return position
        log.warning("the topic was made anew", extra={"partition": str(partition), "committed": position.offset})
        return Position(low, low, now_ms)
