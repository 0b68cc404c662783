"""What faults happen to: brokers and their proxies, sidecars that come and go, and batches that keep coming."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, cast

import fastavro
from confluent_kafka import Consumer, KafkaException, TopicPartition

from exporter.model import FeedKey
from tests.chaos.brokers import CREDENTIALS, Brokers
from tests.chaos.members import FETCH, GROUPS, MOST_MEMBERS, Members
from tests.chaos.watch import Reader, Scraper
from tests.support.background import repeating
from tests.support.events import read_framed
from tests.support.redis import RedisServer
from tests.support.registry import RegistryServer
from tests.support.sidecar import Deployment, Sidecar
from tests.support.traffic import Batch, Told
from tests.support.waiting import eventually

PARTITIONS = 6
OUTPUTS = 2  # partitions of the event topic, see Deployment
WRITE_RECORDS, WRITE_SECONDS = 50, 0.1
RECOVERY_SECONDS = 60.0
ANSWER_SECONDS = 5.0
PRODUCER = {"socket.timeout.ms": "3000", "transaction.timeout.ms": "8000"}
# What collectors write is kept and taken, whatever their clocks show.
ANY_CLOCK = {"retention_ms": -1, "message_timestamp_after_max_ms": 2**62}


class Stage(Members[Sidecar]):
    """Sidecars of one group, and what they need.

    `witness` reads the same input in a group of its own and lives through all of it, so that its /metrics, which begin
    with the process, have to tell of every batch.
    """

    def __init__(self, brokers: Brokers, directory: Path, delivery: str, protocol: str, seed: int) -> None:
        super().__init__(brokers, seed)
        self.redis = RedisServer(directory / "redis")
        self.registry = RegistryServer()
        self.deployment = Deployment(brokers, directory, PARTITIONS, **ANY_CLOCK)
        self.deployment.create_outputs()
        self._settings: dict[str, object] = {
            "kafka__bootstrap_servers": brokers.proxied,
            "kafka__properties": CREDENTIALS,
            "kafka__producer_properties": PRODUCER,
            "kafka__consumer_properties": FETCH | GROUPS[protocol],
            "output__delivery": delivery,
            "output__encoding": "avro",
            "output__schema_registry": self.registry.url,
            "output__commit_interval": "50ms",
            "output__summary_interval": "5s",
            "redis__url": self.redis.url,
        }
        self._down = [self.deployment.sidecar(f"s{number}", **self._settings) for number in range(MOST_MEMBERS)]
        self.witness_events = brokers.create_topic(f"witness-{self.deployment.events}", OUTPUTS)
        self.witness = self._make_witness()
        self.reader = Reader(brokers, self.deployment.events, OUTPUTS)
        self.scraper = Scraper(lambda: [sidecar for sidecar in (self.witness, *self.up) if sidecar.is_running])
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(self.redis.kill)
        self._stack.enter_context(self.registry)
        self._stack.enter_context(self.deployment)
        self._stack.callback(self.brokers.proxy.heal)
        self.redis.start()
        self.witness.start()
        self._stack.enter_context(self.reader)
        self._stack.enter_context(self.scraper)
        self.scale(2)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make_witness(self) -> Sidecar:
        own = {"input__group": f"witness-{self.deployment.group}", "output__topic": self.witness_events}
        return self.deployment.sidecar("witness", **(self._settings | own))

    # Batches.

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Batches keep coming within this, some hundred a second; what lies in the topic is what was written."""

        def write() -> None:
            with suppress(KafkaException, AssertionError):  # the brokers are away
                self.deployment.traffic.write(WRITE_RECORDS)

        with repeating(write, WRITE_SECONDS):
            yield

    def input(self) -> dict[int, int]:
        """How many records each partition of the input has."""
        return eventually(self._ends, RECOVERY_SECONDS, "the brokers do not tell how much there is")

    def _ends(self) -> dict[int, int]:
        consumer = Consumer({"bootstrap.servers": self.brokers.bootstrap, "group.id": "ends", "log_level": 0})
        topic = self.deployment.topic
        try:
            return {
                number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=ANSWER_SECONDS)[1]
                for number in range(PARTITIONS)
            }
        except KafkaException:
            return {}  # a leader is on its way
        finally:
            consumer.close()

    def missing(self, written: dict[int, int]) -> int:
        """How many records before these ends no event tells of yet."""
        return self.reader.missing(written)

    def doubled(self) -> int:
        """How many records more than one event tells of."""
        return self.reader.doubled()

    def recovered(self) -> None:
        """Wait until all that lies in the input now is told of."""
        ends = self.input()

        def are_told() -> bool:
            self.revive()
            return not self.reader.missing(ends)

        eventually(are_told, RECOVERY_SECONDS, "the events did not catch up")

    def written(self) -> list[Batch]:
        """What lies in the input."""
        return [
            self._batch(record.value, f"{self.deployment.topic}/{record.partition}/{record.offset}")
            for record in self.brokers.read_all(self.deployment.topic)
        ]

    def told(self) -> Told:
        """What the events say."""
        schemas = [cast("dict[str, Any]", fastavro.parse_schema(schema)) for schema in self.registry.schemas]
        return Told(self.brokers.read_all(self.deployment.events), lambda event: read_framed(event, schemas))

    @staticmethod
    def _batch(value: bytes, identity: str) -> Batch:
        said = json.loads(value)
        feed = FeedKey(*(said[name] for name in FeedKey._fields))
        symbols = {row["target_currency"] for row in said["data"]}
        return Batch(identity, feed, len(said["data"]), len(symbols), said["timestamp_ms"])
