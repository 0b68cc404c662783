"""Kafka clients and their properties; the only module that makes clients of the sidecar."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from exporter.config.schema import Config
from exporter.config.subscription import Subscription
from exporter.kafka.eager import EagerConsumer
from exporter.kafka.msk import login
from exporter.runtime import logs

log = logs.logger("kafka")

ADMIN_SECONDS = 10.0
ANSWER_SECONDS = 3.0
SHORTEST_STUCK_SECONDS = 60.0
SOCKET_MS = 10_000
FETCH_BYTES = 1_048_576

COMMON = {
    "client.id": "marketdata-exporter",
    "socket.timeout.ms": SOCKET_MS,
    "reconnect.backoff.max.ms": 2_000,
    "log.connection.close": False,
    # Client metrics are sent to the brokers only if configured (KIP-714).
    "enable.metrics.push": False,
}
CONSUMER = {
    "enable.auto.offset.store": False,
    # Also makes a new owner wait until a transaction of the previous owner that has offsets is complete (KIP-447).
    "isolation.level": "read_committed",
    # An offset that no longer exists is an error, so that lost records are counted; see `KafkaSource._reassign`.
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "topic.metadata.refresh.interval.ms": 10_000,
    # Catching up must not be throttled, and an idle consumer must not fetch each record separately. A fetch may be
    # compressed to a tenth; and fetch.min.bytes must not exceed what one partition may return.
    "fetch.queue.backoff.ms": 10,
    "fetch.min.bytes": 131_072,
    "fetch.wait.max.ms": 200,
    "queued.max.messages.kbytes": 2048,
    "max.partition.fetch.bytes": 131_072,
    # The limit of all partitions together, because a fetch is unpacked at once.
    "fetch.max.bytes": FETCH_BYTES,
}
# Of events that programs handle: few, and each at once. A group that is new handles all there is.
HANDLED = {"auto.offset.reset": "earliest", "enable.partition.eof": False, "fetch.min.bytes": 1}
PROBER = {
    "enable.auto.commit": False,
    # An open transaction must not hide readable records after it.
    "isolation.level": "read_uncommitted",
    "fetch.error.backoff.ms": 10,
    "fetch.min.bytes": 1,
    "fetch.wait.max.ms": 50,
}
ONE_BY_ONE = {"max.partition.fetch.bytes": 1, "queued.min.messages": 1}
# The longest that a group waits for members that do not join again; a broker that was just started waits even for dead
# members (seen with Kafka 4.3). The loop polls ten times a second.
POLL_INTERVAL_MS = 60_000
CLASSIC_GROUP = {
    "partition.assignment.strategy": "cooperative-sticky",
}
PRODUCER = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "compression.type": "lz4",
}
TRANSACTIONAL: dict[str, Any] = {
    # With the default, rebootstrap, it can wait without end once all connections are lost. Others have the default:
    # with none, a client never connects again after an answer without brokers, as from one that ends (librdkafka #5301;
    # see `lifeline` for the rest of it). A transactional one is replaced when its transaction fails.
    "metadata.recovery.strategy": "none",
    "transaction.timeout.ms": 30_000,
    # Long enough to recognize by its duration a commit that was sent twice; see SLOW_SECONDS of the channel.
    "retry.backoff.ms": 1000,
}


class LineCollector(logging.Handler):
    """Handler that keeps the log lines of one client, whose property `logger` it provides."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.logger = logging.Logger("librdkafka")
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        self.lines.append(record.getMessage())


def consumer(config: Config, on_error: Callable[[KafkaError], None]) -> Consumer:
    """Make the consumer of the input topics."""
    return Consumer({**consumer_properties(config), "error_cb": on_error, "logger": log})


def event_consumer(config: Config, on_error: Callable[[KafkaError], None]) -> Consumer:
    """Make a consumer of events that a program handles; it commits the offsets that are stored."""
    properties = {**consumer_properties(config), **HANDLED, **config.kafka.consumer_properties}
    return Consumer({**properties, "enable.auto.commit": True, "error_cb": on_error, "logger": log})


def ingestion_consumer(config: Config, on_error: Callable[[KafkaError], None]) -> Consumer:
    """Make the consumer of ingestion events, a member of a group of its own.

    Its group assigns by range: partition 0 of the topic with the beginnings of rounds and that of the topic with their
    ends go to one member, which can pair them.
    """
    properties = consumer_properties(config)
    is_new_protocol = properties.get("group.protocol") == "consumer"
    by_range = {"group.remote.assignor" if is_new_protocol else "partition.assignment.strategy": "range"}
    made = Consumer({**properties, **by_range, "error_cb": on_error, "logger": log})
    return made if is_new_protocol else cast(Consumer, EagerConsumer(made))


def prober(config: Config) -> Consumer:
    """Make a consumer that reads single offsets of the input topics, and neither joins the group nor commits."""
    properties = {**consumer_properties(config), **PROBER}
    return Consumer({**properties, "error_cb": lambda _: None, "logger": log})


def isolated_properties(config: Config) -> dict[str, Any]:
    """Return the properties of a consumer in a child process, which reads a partition as `consumer` does.

    It fetches one batch at a time, so that the batch that ends the process is known.
    """
    committed = {"isolation.level": consumer_properties(config)["isolation.level"]}
    return {**consumer_properties(config), **PROBER, **committed, **ONE_BY_ONE}


def consumer_properties(config: Config) -> dict[str, Any]:
    """Return the consumer's properties: defaults, then the configured ones, then those that correctness depends on."""
    transactional = config.output.enabled and config.output.delivery == "exactly_once"
    users = {**config.kafka.properties, **config.kafka.consumer_properties}
    return {
        **COMMON,
        **CONSUMER,
        "fetch.max.bytes": _fetch_bytes(users),
        # librdkafka requires it to be at least session.timeout.ms.
        "max.poll.interval.ms": max(POLL_INTERVAL_MS, whole(users, "session.timeout.ms", 0)),
        **({} if users.get("group.protocol") == "consumer" else _classic_group(config)),
        **login(config),
        **users,
        "bootstrap.servers": config.kafka.bootstrap_servers,
        "group.id": config.input.group,
        # Without transactions the consumer commits the stored offsets.
        "enable.auto.commit": not transactional,
        "auto.commit.interval.ms": round(config.output.commit_interval * 1000),
    }


def _classic_group(config: Config) -> dict[str, Any]:
    # Topics that are not read must not count in the assignment either.
    ignored = Subscription(config.input.topics, config.input.exclude).ignored
    return {**CLASSIC_GROUP, "topic.blacklist": ",".join(ignored)}


def whole(properties: Mapping[str, object], name: str, default: int) -> int:
    """Return a property that is a number, or the default; `exporter.kafka.properties` reports mistakes."""
    text = str(properties.get(name, default))
    return int(text) if re.fullmatch(r"\d{1,10}", text, re.ASCII) else default


def _fetch_bytes(users: Mapping[str, object]) -> int:
    # librdkafka requires it to be at least the largest message and fetch.min.bytes.
    names = "message.max.bytes", "max.partition.fetch.bytes", "fetch.min.bytes"
    return max(FETCH_BYTES, *(whole(users, name, 0) for name in names))


def producer_properties(config: Config) -> dict[str, Any]:
    """Return the producer's properties, the configured ones included; with a transactional.id for exactly_once."""
    properties: dict[str, Any] = {**COMMON, **PRODUCER}
    if config.output.delivery == "exactly_once":
        properties |= {**TRANSACTIONAL, "transactional.id": f"{config.input.group}-{config.instance}"}
    properties |= {**login(config), **config.kafka.properties, **config.kafka.producer_properties}
    # librdkafka requires socket.timeout.ms to be at most transaction.timeout.ms.
    socket_ms = whole(properties, "socket.timeout.ms", SOCKET_MS)
    properties["socket.timeout.ms"] = min(socket_ms, whole(properties, "transaction.timeout.ms", socket_ms))
    return {**properties, "bootstrap.servers": config.kafka.bootstrap_servers, "logger": log}


def producer(config: Config, /, **more: Any) -> Producer:
    """Make a producer; properties in `more` override the configured ones."""
    return Producer({**producer_properties(config), **more})


def admin(config: Config, /, **more: Any) -> AdminClient:
    """Make an admin client; properties in `more` override the configured ones."""
    properties: dict[str, Any] = {**COMMON, **login(config), **config.kafka.properties, "logger": log}
    return AdminClient(properties | {"bootstrap.servers": config.kafka.bootstrap_servers} | more)


def transaction_seconds(config: Config) -> float:
    """Return the transaction time-out of the broker in seconds, 0 without transactions."""
    return whole(producer_properties(config), "transaction.timeout.ms", 0) / 1000


def stuck_seconds(config: Config) -> float:
    """Return after how many seconds a call counts as stuck: at least twice the transaction time-out."""
    return max(SHORTEST_STUCK_SECONDS, 2 * transaction_seconds(config))


def answers(config: Config) -> bool:
    """Return whether a broker answers a new client within `ANSWER_SECONDS`."""
    try:
        return bool(admin(config).list_topics(timeout=ANSWER_SECONDS).brokers)
    except KafkaException:
        return False


def missing_topics(config: Config, existing: Container[str]) -> list[NewTopic]:
    """Return the output topics that are to be created, as configured."""
    wanted = config.output.create_topics
    if wanted is None:
        return []
    kept = {"retention.ms": str(round(wanted.retention * 1000))}
    topics = dict.fromkeys((config.output.topic, config.output.error_topic), kept)
    if config.risk.enabled:
        topics[config.risk.topic] = {"cleanup.policy": "compact"}
    return [
        NewTopic(topic, num_partitions=wanted.partitions, replication_factor=wanted.replication or -1, config=settings)
        for topic, settings in topics.items()
        if topic not in existing
    ]


def create_topics(config: Config) -> None:
    """Create the output topics that are missing, as configured; raise `KafkaException` when that fails."""
    if config.output.create_topics is not None:
        create(config, partial(missing_topics, config))


def create(config: Config, choose: Callable[[Container[str]], list[NewTopic]]) -> None:
    """Create the topics that `choose` returns for the existing ones; raise `KafkaException` when that fails."""
    client = admin(config)
    missing = choose(client.list_topics(timeout=ADMIN_SECONDS).topics)
    for topic, created in (client.create_topics(missing, request_timeout=ADMIN_SECONDS) if missing else {}).items():
        try:
            created.result()
            log.info("topic created", extra={"topic": topic})
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
