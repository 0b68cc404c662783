"""What is asked of the broker about offsets: what a group has committed, and where a partition is to be begun.

Every question blocks for some seconds at most; `TimeoutError` and `KafkaException` mean that it may be asked again.
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
from exporter.source.topic_ids import Topics

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
        raise TimeoutError(error.args[0].str()) from error
    failed = next((tp.error for tp in answers if tp.error is not None), None)
    if failed is not None:
        raise TimeoutError(failed.str())
    return {Partition(tp.topic, tp.partition): (tp.offset, tp.metadata) for tp in answers if tp.offset > OFFSET_INVALID}


class Offsets:
    """Where partitions are begun. `at_start` are those that there were before we joined the group."""

    def __init__(self, settings: InputConfig, subscription: Subscription, topics: Topics) -> None:
        self.at_start: set[Partition] = set()
        self._settings = settings
        self._subscription = subscription
        self._topics = topics
        self._ids: dict[Partition, str] = {}  # of which topic each partition was that we had
        self._absent: set[Partition] = set()  # those of them whose topic is not there
        self._group_was_new = False

    def snapshot(self, consumer: Any) -> None:
        """See what there is before joining the group: only so a later partition can be told from a new group."""
        self.at_start = self._matching(consumer)
        self._group_was_new = not committed(consumer, self.at_start)

    def starts(
        self, consumer: Any, partitions: Collection[Partition], waiting: Callable[[], object]
    ) -> dict[Partition, Start]:
        """Return where each partition is begun and where it ends now; `waiting` is called before each question.

        However many they are, three questions are asked: one for each partition would take minutes.
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
        """Return the first offset of each partition and the one after its last; raise when a broker does not say."""
        return self._topics.ends(partitions) if partitions else {}

    def look(self, now: float) -> tuple[set[Partition], set[Partition]]:
        """Return which partitions that we had are of another topic now, and which have become of none; never wait."""
        told = self._topics.look({partition.topic for partition in self._ids}, now)
        had = {partition: topic_id for partition, topic_id in self._ids.items() if partition.topic in told}
        self._ids |= {partition: told[partition.topic] or "" for partition, topic_id in had.items() if not topic_id}
        others = {partition for partition, topic_id in had.items() if is_another(topic_id, told[partition.topic] or "")}
        absent = {partition for partition in had if told[partition.topic] is None}
        gone = absent - self._absent
        self._absent = absent | (self._absent - had.keys())
        return others, gone

    def _matching(self, consumer: Any) -> set[Partition]:
        """Return the partitions of all topics that the subscription means."""
        topics = consumer.list_topics(timeout=LOOK_SECONDS).topics
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
