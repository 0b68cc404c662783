"""What faults happen to: a broker, its proxy, sidecars that come and go, and batches that keep coming."""

import json
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from exporter.model import FeedKey
from tests.chaos.broker import ProxiedBroker
from tests.chaos.watch import Reader, Scraper
from tests.support.sidecar import Deployment, Sidecar
from tests.support.traffic import Batch
from tests.support.waiting import eventually

PARTITIONS = 6
OUTPUTS = 2  # partitions of the event topic, see Deployment
MOST_SIDECARS = 4
WRITE_RECORDS, WRITE_SECONDS = 50, 0.1
RECOVERY_SECONDS = 60.0
BROKER = {
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "500",
}
PRODUCER = {"socket.timeout.ms": "3000", "transaction.timeout.ms": "8000"}
GROUPS = {
    "classic": {"session.timeout.ms": "2000", "heartbeat.interval.ms": "300"},
    "consumer": {"group.protocol": "consumer"},
}
FETCH = {"fetch.wait.max.ms": "20", "topic.metadata.refresh.interval.ms": "500", "socket.timeout.ms": "3000"}


class Stage:
    """`up` are the sidecars that run and do not sleep; whoever does harm to one takes it out first."""

    def __init__(self, broker: ProxiedBroker, directory: Path, delivery: str, protocol: str, seed: int) -> None:
        self.broker = broker
        self.random = random.Random(seed)
        self.up: list[Sidecar] = []
        self.deployment = Deployment(broker, directory, PARTITIONS)
        self.deployment.create_outputs()
        self._settings: dict[str, object] = {
            "kafka__bootstrap_servers": broker.proxied,
            "kafka__producer_properties": PRODUCER,
            "kafka__consumer_properties": FETCH | GROUPS[protocol],
            "output__delivery": delivery,
            "output__commit_interval": "50ms",
            "output__summary_interval": "5s",
        }
        self._down = [self.deployment.sidecar(f"s{number}", **self._settings) for number in range(MOST_SIDECARS)]
        self.reader = Reader(broker, self.deployment.events, OUTPUTS)
        self.scraper = Scraper(lambda: list(self.up))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.deployment)
        self._stack.callback(self.broker.proxy.heal)
        self._stack.enter_context(self.reader)
        self._stack.enter_context(self.scraper)
        self.scale(2)
        return self

    def __exit__(self, *_: object) -> None:
        self.up.clear()
        self._stack.close()

    # Sidecars.

    @contextmanager
    def away(self) -> Iterator[Sidecar]:
        """One of those that run, while it must not be scraped."""
        sidecar = self.random.choice(self.up)
        self.up.remove(sidecar)
        yield sidecar
        self.up.append(sidecar)

    def scale(self, number: int) -> None:
        """Start or stop sidecars until there are so many."""
        while len(self.up) < number:
            self.up.append(self._down.pop().start())
        while len(self.up) > number:
            sidecar = self.random.choice(self.up)
            self.up.remove(sidecar)
            end(sidecar)
            self._down.append(sidecar)

    # Batches.

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Batches keep coming within this, some hundred a second; what lies in the topic is what was written."""
        stopped = Event()

        def flow() -> None:
            while not stopped.wait(WRITE_SECONDS):
                try:
                    self.deployment.traffic.write(WRITE_RECORDS)
                except (KafkaException, AssertionError):
                    continue  # the broker is away

        thread = Thread(target=flow)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def ends(self) -> dict[int, int]:
        """How many records each partition of the input has."""
        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": "ends", "log_level": 0})
        topic = self.deployment.topic
        try:
            return {
                number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=20)[1]
                for number in range(PARTITIONS)
            }
        finally:
            consumer.close()

    def recovered(self) -> None:
        """Wait until all that lies in the input now is told of."""
        ends = self.ends()
        eventually(lambda: not self.reader.missing(ends), RECOVERY_SECONDS, "the events did not catch up")

    def written(self) -> list[Batch]:
        """What lies in the input."""
        return [
            self._batch(record.value, f"{self.deployment.topic}/{record.partition}/{record.offset}")
            for record in self.broker.read_all(self.deployment.topic)
        ]

    @staticmethod
    def _batch(value: bytes, identity: str) -> Batch:
        said = json.loads(value)
        feed = FeedKey(*(said[name] for name in FeedKey._fields))
        symbols = {row["target_currency"] for row in said["data"]}
        return Batch(identity, feed, len(said["data"]), len(symbols), said["timestamp_ms"])


def end(sidecar: Sidecar) -> None:
    """Ask a sidecar to end; it has half a minute, and may not find the time to say goodbye."""
    sidecar.signal(signal.SIGTERM)
    eventually(lambda: sidecar.exit_code() is not None, 30, "a sidecar did not end")
    sidecar.kill()
