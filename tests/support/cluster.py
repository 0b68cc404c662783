"""What tests put into a Kafka cluster and read from it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # confluent_kafka.admin has it too, but does not tell mypy

from tests.support.waiting import eventually

ANSWER_SECONDS = 20.0


@dataclass(frozen=True)
class Record:
    """A Kafka record as it was read or is to be sent; what is left unset of the last three, the cluster chooses."""

    value: bytes
    key: bytes | None = None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    timestamp_ms: int = 0
    partition: int = -1
    offset: int = -1


class Cluster:
    """A Kafka cluster, real or simulated. Every call has a client of its own, so that restarts leave nothing behind."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def create_topic(self, name: str, partitions: int = 1, **config: str | int) -> str:
        """Create a topic, with settings such as `retention_ms=1000`; returns its name once it can be written to."""
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        admin = AdminClient(self._client())
        topic = NewTopic(name, partitions, replication_factor=-1, config=settings)  # as many as the brokers think right
        admin.create_topics([topic], request_timeout=ANSWER_SECONDS)[name].result(ANSWER_SECONDS)
        eventually(lambda: _led_partitions(admin, name) == partitions, ANSWER_SECONDS, f"{name} has no leaders")
        return name

    def produce(self, topic: str, records: Iterable[bytes | Record], *, is_idempotent: bool = False) -> list[Record]:
        """Write records, or bare values, in this order; returns them with the partition, offset and stamp they got.

        One request in flight keeps the order but when several batches go to a topic that was just created, whose first
        one may be repeated. An idempotent producer always does, and spends half a second on its start.
        """
        order: dict[str, Any] = {"enable_idempotence": True} if is_idempotent else {"max_in_flight": 1}
        producer = Producer(self._client(**order, queue_buffering_max_messages=10_000_000))
        written: dict[int, Record] = {}
        for index, record in enumerate(records):
            record = record if isinstance(record, Record) else Record(record)
            _send(producer, topic, record, partial(_delivered, written, index, record))
        left = producer.flush(ANSWER_SECONDS)
        assert not left, f"{left} records were not written within {ANSWER_SECONDS:g} s"
        return [written[index] for index in sorted(written)]

    def read_all(self, topic: str, isolation: str = "read_committed") -> list[Record]:
        """All that lies in the topic now, sorted by partition and offset.

        With `read_uncommitted` that includes what belongs to open and aborted transactions.
        """
        settings = self._client(group_id="read-all", enable_auto_commit=False, enable_partition_eof=True)
        settings["fetch.wait.max.ms"] = 10  # the broker holds back the answer "this is the end" so long
        consumer = Consumer(settings | {"isolation.level": isolation})
        try:
            return _read_to_end(consumer, topic)
        finally:
            consumer.close()

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The offsets that a consumer group has committed, by partition; a partition without one is left out."""
        consumer = Consumer(self._client(group_id=group))
        try:
            positions = eventually(lambda: _committed(consumer, topic), ANSWER_SECONDS, "the group has no coordinator")
        finally:
            consumer.close()
        return {position.partition: position.offset for position in positions if position.offset >= 0}

    def _client(self, **settings: Any) -> dict[str, Any]:
        dotted = {key.replace("_", "."): value for key, value in settings.items()}
        # Otherwise librdkafka prints what it thinks of an unreachable broker; the tests get what matters as errors.
        return {"bootstrap.servers": self.bootstrap, "log_level": 0, **dotted}


def knows_groups(cluster: Cluster) -> bool:
    """Whether groups have a coordinator; in a new cluster, not before the first group has asked for one."""
    try:
        cluster.committed("first", "first")
    except KafkaException:
        return False
    return True


def _led_partitions(admin: AdminClient, topic: str) -> int:
    metadata = admin.list_topics(timeout=ANSWER_SECONDS).topics.get(topic)  # a new topic may not be known yet
    return sum(partition.leader >= 0 for partition in metadata.partitions.values()) if metadata else 0


def _send(producer: Producer, topic: str, record: Record, on_delivery: Any) -> None:
    producer.produce(
        topic,
        record.value,
        record.key,
        record.partition,
        on_delivery,
        timestamp=record.timestamp_ms,
        headers=list(record.headers.items()),
    )


def _delivered(
    written: dict[int, Record], index: int, record: Record, error: KafkaError | None, message: Message
) -> None:
    if error is not None:
        raise KafkaException(error)
    # Not the whole of the message: the one in a delivery report has no headers.
    partition, offset, timestamp_ms = _place(message)
    written[index] = replace(record, partition=partition, offset=offset, timestamp_ms=timestamp_ms)


def _read_to_end(consumer: Consumer, topic: str) -> list[Record]:
    unfinished = {part.partition for part in _partitions(consumer, topic)}
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in unfinished])
    records: list[Record] = []
    while unfinished:
        message = consumer.poll(ANSWER_SECONDS)
        assert message is not None, f"{topic}: nothing from partitions {unfinished} for {ANSWER_SECONDS:g} s"
        error = message.error()
        if error is None:
            records.append(_record(message))
        elif error.code() == KafkaError._PARTITION_EOF:
            unfinished.discard(message.partition())
        else:
            raise KafkaException(error)
    return sorted(records, key=lambda record: (record.partition, record.offset))


def _committed(consumer: Consumer, topic: str) -> list[TopicPartition]:
    try:
        return consumer.committed(_partitions(consumer, topic), timeout=ANSWER_SECONDS)
    except KafkaException as error:
        if error.args[0].code() in (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS):
            return []  # the first group of a new broker is being prepared for
        raise


def _partitions(consumer: Consumer, topic: str) -> list[TopicPartition]:
    metadata = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    return [TopicPartition(topic, number) for number in metadata.partitions]


def _record(message: Message) -> Record:
    headers = cast("list[tuple[str, bytes]]", message.headers() or [])
    partition, offset, timestamp_ms = _place(message)
    return Record(message.value() or b"", message.key(), dict(headers), timestamp_ms, partition, offset)


def _place(message: Message) -> tuple[int, int, int]:
    partition, offset, (_, timestamp_ms) = message.partition(), message.offset(), message.timestamp()
    assert partition is not None
    assert offset is not None
    return partition, offset, timestamp_ms
