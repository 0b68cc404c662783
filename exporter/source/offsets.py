"""Requests about offsets: those that a group has committed, and where to start a partition.

A request blocks for some seconds at most; after `TimeoutError` and `KafkaException` it may be retried.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from confluent_kafka import OFFSET_INVALID, KafkaException, TopicPartition

from exporter.config.schema import InputConfig
from exporter.config.subscription import Subscription
from exporter.kafka.positions import Extent, Position, Start, is_another, resumed
from exporter.model import Partition, Reset, ResetCause
from exporter.runtime import clock
from exporter.source.topic_ids import TopicIds

ASK_SECONDS = 5.0
LIST_SECONDS = 1.0


def committed(consumer: Any, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, str | None]]:
    """Return the committed offset and metadata of the consumer's group; a partition without any is absent.

    A read-committed consumer gets an answer only when no open transaction may still change the offsets.
    """
    asked = [TopicPartition(*partition) for partition in partitions]
    if not asked:
        return {}
    try:
        answers = consumer.committed(asked, timeout=ASK_SECONDS)
    except KafkaException as error:
        raise TimeoutError(error.args[0].str()) from error
    failed = next((tp.error for tp in answers if tp.error is not None), None)
    if failed is not None:
        raise TimeoutError(failed.str())
    return {Partition(tp.topic, tp.partition): (tp.offset, tp.metadata) for tp in answers if tp.offset > OFFSET_INVALID}


class Offsets:
    """Start positions of partitions; `at_start` are the partitions that existed before joining the group."""

    def __init__(self, settings: InputConfig, subscription: Subscription, topics: TopicIds) -> None:
        self.at_start: set[Partition] = set()
        self._settings = settings
        self._subscription = subscription
        self._topics = topics
        self._ids: dict[Partition, str] = {}  # the topic's id of each partition that was assigned
        self._absent: set[Partition] = set()  # those of them whose topic does not exist
        self._group_was_new = False

    def snapshot(self, consumer: Any) -> None:
        """Read the existing partitions before joining the group, to distinguish a later partition from a new group."""
        self.at_start = self._matching(consumer)
        self._group_was_new = not committed(consumer, self.at_start)

    def starts(
        self, consumer: Any, partitions: Collection[Partition], waiting: Callable[[], object]
    ) -> dict[Partition, Start]:
        """Return where each partition starts and ends now; `waiting` is called before each request.

        Three requests serve any number of partitions: one for each would take minutes.
        """
        waiting()
        ids = self._topics.ids({partition.topic for partition in partitions})
        waiting()
        known = committed(consumer, partitions)
        waiting()
        ends = self.ends(partitions)
        starts: dict[Partition, Start] = {}
        for partition in partitions:
            extent = Extent(*ends[partition], ids[partition.topic])
            starts[partition] = self._start(partition, known.get(partition), extent)
        self._ids |= {partition: start.position.topic_id for partition, start in starts.items()}
        return starts

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        """Return the first offset of each partition and the one after its last; raise `KafkaException` without them."""
        return self._topics.ends(partitions) if partitions else {}

    def poll_topics(self, now: float) -> tuple[set[Partition], set[Partition]]:
        """Return the once assigned partitions whose topics were created again, and those deleted; never wait."""
        ids = self._topics.poll({partition.topic for partition in self._ids}, now)
        known = {partition: topic_id for partition, topic_id in self._ids.items() if partition.topic in ids}
        self._ids |= {partition: ids[partition.topic] or "" for partition, topic_id in known.items() if not topic_id}
        recreated = {partition for partition, old in known.items() if is_another(old, ids[partition.topic] or "")}
        absent = {partition for partition in known if ids[partition.topic] is None}
        deleted = absent - self._absent
        self._absent = absent | (self._absent - known.keys())
        return recreated, deleted

    def _matching(self, consumer: Any) -> set[Partition]:
        """Return the existing partitions of the subscription."""
        topics = consumer.list_topics(timeout=LIST_SECONDS).topics
        names = self._subscription.among(topics)
        return {Partition(name, number) for name in names for number in topics[name].partitions}

    def _start(self, partition: Partition, known: tuple[int, str | None] | None, extent: Extent) -> Start:
        position, reset = self._position(partition, known, extent)
        warm = min(position.summarized, position.offset - self._settings.warm_start)
        return Start(position, max(extent.low, position.floor, warm), extent.high, reset).counted()

    def _position(
        self, partition: Partition, known: tuple[int, str | None] | None, extent: Extent
    ) -> tuple[Position, Reset | None]:
        now_ms = clock.now_ms()
        if known is not None:
            return resumed(Position.committed(*known, now_ms), extent, now_ms)
        low, high, topic_id = extent
        if is_another(self._ids.get(partition, ""), topic_id):
            return Position(low, low, now_ms, topic_id), Reset(ResetCause.TOPIC_RECREATED, 0, low)
        is_new = self._group_was_new and partition in self.at_start
        offset = high if is_new and self._settings.start == "latest" else low
        return Position(offset, offset, now_ms, topic_id), None
