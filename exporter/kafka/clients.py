"""librdkafka's properties: what the sidecar needs, and what the user adds. The only place that makes Kafka clients."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Container, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from exporter.config.schema import Config
from exporter.config.subscription import INTERNAL
from exporter.runtime import logs

log = logs.logger("kafka")

ADMIN_SECONDS = 10.0
ANSWER_SECONDS = 3.0
SHORTEST_STUCK_SECONDS = 60.0
SOCKET_MS = 10_000
FETCH_BYTES = 1_048_576

COMMON = {
    "client.id": "marketdata-exporter",
    # The default, rebootstrap, can leave a transactional client waiting for ever once all connections are gone.
    "metadata.recovery.strategy": "none",
    "socket.timeout.ms": SOCKET_MS,
    "reconnect.backoff.max.ms": 2_000,
    "log.connection.close": False,
    # Clients do not report to the broker's operator unless asked to.
    "enable.metrics.push": False,
}
CONSUMER = {
    "enable.auto.offset.store": False,
    # Also what makes a successor wait until the offsets of a dead predecessor's transaction are decided (KIP-447).
    "isolation.level": "read_committed",
    # An offset that is not to be had any more is an error, so that what was lost is counted; see `source._reassign`.
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "topic.metadata.refresh.interval.ms": 10_000,
    # A full-speed reader must not be throttled, an idle one must not fetch every record by itself. What a fetch brings
    # may be compressed to a tenth; and no partition could ever bring the least that is waited for if that were more.
    "fetch.queue.backoff.ms": 10,
    "fetch.min.bytes": 131_072,
    "fetch.wait.max.ms": 200,
    "queued.max.messages.kbytes": 2048,
    "max.partition.fetch.bytes": 131_072,
    # Of all partitions together: what it brings is unpacked at once, however many there are.
    "fetch.max.bytes": FETCH_BYTES,
}
PROBER = {
    "enable.auto.commit": False,
    # An open transaction must not hide what can be read behind it.
    "isolation.level": "read_uncommitted",
    "fetch.error.backoff.ms": 10,
    "fetch.min.bytes": 1,
    "fetch.wait.max.ms": 50,
}
ONE_BY_ONE = {"max.partition.fetch.bytes": 1, "queued.min.messages": 1}
# A group waits so long for members that do not join again, at most; by a broker that has just been started even for
# those that are dead (seen with Kafka 4.3). The loop polls ten times a second.
POLL_INTERVAL_MS = 60_000
CLASSIC_GROUP = {
    "partition.assignment.strategy": "cooperative-sticky",
    # They are not read, so they may not count as a member's share either.
    "topic.blacklist": f"^{INTERNAL}",
}
PRODUCER = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "compression.type": "lz4",
}
TRANSACTIONAL = {
    "transaction.timeout.ms": 30_000,
    # Long enough that a commit which was sent twice can be told by its time; see `sink.SLOW_SECONDS`.
    "retry.backoff.ms": 1000,
}


class Heard(logging.Handler):
    """Keeps the lines of one client, which has `logger` as a property: its exceptions tell less."""

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


def prober(config: Config) -> Consumer:
    """Make a consumer that looks at single places of the input topics, and never joins the group or commits."""
    properties = {**consumer_properties(config), **PROBER}
    return Consumer({**properties, "error_cb": lambda _: None, "logger": log})


def isolated_properties(config: Config) -> dict[str, Any]:
    """Return the properties of a consumer in a child process, which reads a partition as `consumer` does.

    One batch a fetch, and none before the last one was taken: then it is known of which one it dies.
    """
    committed = {"isolation.level": consumer_properties(config)["isolation.level"]}
    return {**consumer_properties(config), **PROBER, **committed, **ONE_BY_ONE}


def consumer_properties(config: Config) -> dict[str, Any]:
    """Return the consumer's properties: ours, then the user's, then those that correctness depends on."""
    transactional = config.output.enabled and config.output.delivery == "exactly_once"
    users = {**config.kafka.properties, **config.kafka.consumer_properties}
    return {
        **COMMON,
        **CONSUMER,
        "fetch.max.bytes": _fetch_bytes(users),
        # librdkafka wants it to be no shorter than the session.
        "max.poll.interval.ms": max(POLL_INTERVAL_MS, whole(users, "session.timeout.ms", 0)),
        **({} if users.get("group.protocol") == "consumer" else CLASSIC_GROUP),
        **users,
        "bootstrap.servers": config.kafka.bootstrap_servers,
        "group.id": config.input.group,
        # Without transactions the consumer itself commits what is stored.
        "enable.auto.commit": not transactional,
        "auto.commit.interval.ms": round(config.output.commit_interval * 1000),
    }


def whole(properties: Mapping[str, object], name: str, default: int) -> int:
    """Return a property that is a number, or the default; `exporter.kafka.properties` reports mistakes."""
    text = str(properties.get(name, default))
    return int(text) if re.fullmatch(r"\d{1,10}", text, re.ASCII) else default


def _fetch_bytes(users: Mapping[str, object]) -> int:
    # librdkafka wants it to be no smaller than a message may be; and what is waited for has to fit in.
    names = "message.max.bytes", "max.partition.fetch.bytes", "fetch.min.bytes"
    return max(FETCH_BYTES, *(whole(users, name, 0) for name in names))


def producer_properties(config: Config) -> dict[str, Any]:
    """Return the producer's properties, the user's among them; with a transactional.id when exactly once is asked."""
    properties: dict[str, Any] = {**COMMON, **PRODUCER}
    if config.output.delivery == "exactly_once":
        properties |= {**TRANSACTIONAL, "transactional.id": f"{config.input.group}-{config.instance}"}
    properties |= {**config.kafka.properties, **config.kafka.producer_properties}
    # librdkafka refuses a socket that may be silent for longer than a transaction.
    socket_ms = whole(properties, "socket.timeout.ms", SOCKET_MS)
    properties["socket.timeout.ms"] = min(socket_ms, whole(properties, "transaction.timeout.ms", socket_ms))
    return {**properties, "bootstrap.servers": config.kafka.bootstrap_servers, "logger": log}


def producer(config: Config, **more: Any) -> Producer:
    """Make a producer; `more` stands above what is configured."""
    return Producer({**producer_properties(config), **more})


def admin(config: Config, **more: Any) -> AdminClient:
    """Make a client that creates and describes topics; `more` stands above what is configured."""
    properties: dict[str, Any] = {**COMMON, **config.kafka.properties, "logger": log}
    return AdminClient(properties | {"bootstrap.servers": config.kafka.bootstrap_servers} | more)


def transaction_seconds(config: Config) -> float:
    """Return after how long the broker ends a transaction by itself, 0 without transactions."""
    return whole(producer_properties(config), "transaction.timeout.ms", 0) / 1000


def stuck_seconds(config: Config) -> float:
    """Return how long a call may take before it is taken for stuck; no transaction lives half as long."""
    return max(SHORTEST_STUCK_SECONDS, 2 * transaction_seconds(config))


def answers(config: Config) -> bool:
    """Return whether a broker answers within some seconds, to a client of its own."""
    try:
        return bool(admin(config).list_topics(timeout=ANSWER_SECONDS).brokers)
    except KafkaException:
        return False


def missing_topics(config: Config, existing: Container[str]) -> list[NewTopic]:
    """Return the output topics that are to be created, as configured."""
    wanted = config.output.create_topics
    if wanted is None:
        return []
    return [
        NewTopic(
            topic,
            num_partitions=wanted.partitions,
            replication_factor=wanted.replication or -1,
            config={"retention.ms": str(round(wanted.retention * 1000))},
        )
        for topic in (config.output.topic, config.output.error_topic)
        if topic not in existing
    ]


def create_topics(config: Config) -> None:
    """Create the output topics that are missing, as configured; raise `KafkaException` when that fails."""
    if config.output.create_topics is None:
        return
    client = admin(config)
    missing = missing_topics(config, client.list_topics(timeout=ADMIN_SECONDS).topics)
    for topic, created in (client.create_topics(missing, request_timeout=ADMIN_SECONDS) if missing else {}).items():
        try:
            created.result()
            log.info("topic created", extra={"topic": topic})
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
