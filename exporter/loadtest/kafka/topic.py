"""The topic of a load test: made for it and deleted after it, or one that exists and is left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from exporter.config.schema import Config
from exporter.config.subscription import Subscription
from exporter.kafka import clients
from exporter.kafka.connection_errors import error_text
from exporter.kafka.reader import TopicReader, reader_properties
from exporter.loadtest.target import TargetError
from exporter.model import Partition

ANSWER_SECONDS = 10.0
_GROUP = "marketdata-loadtest"
# What a broker does that expects TLS, or user and password.
_CLOSED = "Broker transport failure"


class LoadTopic(NamedTuple):
    """A topic with the offsets at which the records of the load test begin; `is_own` if it was made for it."""

    name: str
    begins: Mapping[Partition, int]
    is_own: bool


def reader(config: Config, seconds: float = ANSWER_SECONDS) -> TopicReader:
    """Return a reader of the cluster that commits nothing."""
    return TopicReader(reader_properties(config), _GROUP, seconds)


def prepare(config: Config, name: str, partitions: int, keep_seconds: float, *, may_have_records: bool) -> LoadTopic:
    """Return the topic of this name, made if it does not exist; raise `TargetError`.

    A topic with records is refused unless `may_have_records`: their readers would get those of the load test.
    """
    try:
        with reader(config) as existing:
            found = existing.partitions(Subscription([name]))
            if found:
                first, written = existing.first(found), existing.written(found)
    except KafkaException as error:
        raise TargetError(f"Kafka: {_reason(error)}") from None
    if not found:
        return _create(config, name, partitions, keep_seconds)
    records = sum(written[each] - first[each] for each in found)
    if records and not may_have_records:
        raise TargetError(f"the topic {name} has {records} records already; --allow-existing sends to it nevertheless")
    return LoadTopic(name, written, is_own=False)


def _reason(error: KafkaException) -> str:
    """Return the text of an error; of a connection that the broker closes in silence, why that may be."""
    text = error_text(error)
    return f"{text}; see security.protocol and sasl.* in kafka.properties" if _CLOSED in text else text


def ask_for(config: Config, name: str) -> LoadTopic:
    """Return a topic that the broker creates because it is asked for, as an embedded one does, and in no other way."""
    quiet: dict[str, Any] = {"bootstrap.servers": config.kafka.bootstrap_servers, "log_level": 0}
    partitions = Producer(quiet).list_topics(name, timeout=ANSWER_SECONDS).topics[name].partitions
    return LoadTopic(name, {Partition(name, number): 0 for number in partitions}, is_own=False)


def _create(config: Config, name: str, partitions: int, keep_seconds: float) -> LoadTopic:
    # If the load test is killed, its records go by themselves.
    settings = {"retention.ms": str(round(keep_seconds * 1000))}
    topic = NewTopic(name, partitions, replication_factor=-1, config=settings)
    admin = _admin(config)  # the request ends with its client
    try:
        admin.create_topics([topic], request_timeout=ANSWER_SECONDS)[name].result(ANSWER_SECONDS)
    except (KafkaException, TimeoutError) as error:
        reason = error_text(error) or "no answer"
        raise TargetError(
            f"Kafka: the topic {name} cannot be created: {reason}; --topic takes one that exists"
        ) from None
    return LoadTopic(name, {Partition(name, number): 0 for number in range(partitions)}, is_own=True)


def delete(config: Config, topic: LoadTopic, seconds: float) -> str:
    """Delete a topic that was made for the load test; return why that failed, or nothing."""
    if not topic.is_own:
        return ""
    admin = _admin(config)
    try:
        admin.delete_topics([topic.name], request_timeout=seconds)[topic.name].result(seconds)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            return f"the topic {topic.name} could not be deleted: {error_text(error)}"
    except TimeoutError:
        return f"the topic {topic.name} could not be deleted: no answer"
    return ""


def _admin(config: Config) -> AdminClient:
    return clients.admin(config, log_level=0)
