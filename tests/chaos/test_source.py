"""A consumer that finds no broker for long is replaced, by one that asks the configured addresses again."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import pytest
from confluent_kafka import Consumer, KafkaError

from exporter.config.schema import Config, InputConfig, KafkaConfig
from exporter.kafka import clients
from exporter.kafka.connection_errors import ConnectionFaults
from exporter.kafka.positions import Start
from exporter.kafka.unreadable import Gap
from exporter.model import Partition, Record
from exporter.source.consumer import KafkaSource
from exporter.source.isolation import Isolation
from tests.chaos.broker import ProxiedBroker
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

DOWN_SECONDS = 1.0
PATIENT_SECONDS = 60.0


class Owner:
    """Has what it is given, until it is taken away."""

    def __init__(self) -> None:
        self.has: set[Partition] = set()

    def assigned(self, starts: Mapping[Partition, Start]) -> None:
        """See Handler."""
        self.has |= starts.keys()

    def revoked(self, partitions: Iterable[Partition]) -> None:
        """See Handler."""
        self.has -= set(partitions)

    def lost(self, partitions: Iterable[Partition]) -> None:
        """See Handler."""
        self.has -= set(partitions)

    def vanished(self, partitions: Iterable[Partition]) -> None:
        """See Handler."""
        self.has -= set(partitions)

    def exhausted(self, partition: Partition, offset: int) -> None:
        """See Handler."""

    def unreadable(self, partition: Partition, gap: Gap, error: str, *, is_deadly: bool = False) -> None:
        """See Handler."""

    def held(self, partition: Partition, offset: int, error: str) -> None:
        """See Handler."""

    def waiting(self) -> None:
        """See Handler."""


@pytest.fixture
def config(proxied: ProxiedBroker) -> Config:
    """A group of its own that reads a topic of its own from its beginning."""
    name = uuid.uuid4().hex[:8]
    topic = proxied.create_topic(f"ticker-data.{name}")
    return Config(
        kafka=KafkaConfig(bootstrap_servers=proxied.bootstrap),
        input=InputConfig(topics=(topic,), group=name, start="earliest"),
    )


@pytest.fixture
def made() -> list[Consumer]:
    """The consumers that were made."""
    return []


@pytest.fixture
def source(config: Config, made: list[Consumer]) -> Iterator[KafkaSource]:
    """What loses patience with brokers after a second."""

    def make(on_error: Callable[[KafkaError], None]) -> Consumer:
        made.append(clients.consumer(config, on_error))
        return made[-1]

    source = KafkaSource(
        config.input,
        make,
        partial(clients.admin, config),
        partial(clients.prober, config),
        Isolation(partial(clients.isolated_properties, config)),
        ConnectionFaults("", {}),
        down_seconds=DOWN_SECONDS,
    )
    yield source
    source.close(10)


def test_consumer_without_brokers_is_replaced_and_reads_on(
    proxied: ProxiedBroker, config: Config, source: KafkaSource, made: list[Consumer]
) -> None:
    """What it had is lost, and assigned anew once there is a broker."""
    owner = Owner()
    (topic,) = config.input.topics
    source.open(owner)
    read: list[Record] = []

    def is_read(value: bytes) -> bool:
        read.extend(source.take(0.1))
        return value in {record.value for record in read}

    proxied.produce(topic, [b"before"])
    eventually(lambda: is_read(b"before"), PATIENT_SECONDS)
    proxied.kill()
    try:
        eventually(lambda: not source.take(0.1) and len(made) > 1, PATIENT_SECONDS, "the consumer was kept")
        assert not owner.has
    finally:
        proxied.start()
    proxied.produce(topic, [b"after"])
    eventually(lambda: is_read(b"after"), PATIENT_SECONDS)
    assert owner.has == {Partition(topic, 0)}
