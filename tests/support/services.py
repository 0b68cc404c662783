"""Ingesting services beside sidecars: their topics, what they write, and what the sidecars show of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from exporter.ingestion.encodings import encode_avro, encode_json
from exporter.ingestion.events import EVENTS, PARTITIONS, Event, key_of, topic_of
from tests.support.cluster import Record
from tests.support.sidecar import Deployment, Sidecar
from tests.support.waiting import eventually

SHOWN_SECONDS = 30.0
BEGINNINGS = "new_data_received"
ROUNDS = (BEGINNINGS, "data_processing_completed")


class Services:
    """The topics of ingesting services, and the sidecars that read them."""

    def __init__(self, deployment: Deployment, *, has_topics: bool = True) -> None:
        self.deployment = deployment
        self.prefix = f"{deployment.group}."
        self.group = f"{deployment.group}-ingestion"
        self.create_topics(*(PARTITIONS if has_topics else ()))

    def create_topics(self, *names: str) -> None:
        for name in names:
            self.deployment.cluster.create_topic(self.prefix + name, PARTITIONS[name])

    def sidecar(self, instance: str = "one", **settings: object) -> Sidecar:
        impatient = {"transaction.timeout.ms": "3000", "socket.timeout.ms": "3000"}
        own = {"ingestion__enabled": True, "ingestion__prefix": self.prefix, "kafka__producer_properties": impatient}
        return self.deployment.sidecar(instance, **own, **settings)

    def send(self, *events: Event) -> None:
        """Write events, every other one as JSON."""
        for number, event in enumerate(events):
            value = (encode_json if number % 2 else encode_avro)(event)
            self.write(topic_of(event), value, key_of(event))

    def write(self, name: str, value: bytes, key: str | None = None) -> None:
        record = Record(value, None if key is None else key.encode())
        self.deployment.cluster.produce(self.prefix + name, [record])

    def committed(self, name: str) -> int:
        return sum(self.deployment.cluster.committed(self.group, self.prefix + name).values())


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def counts(sidecar: Sidecar, source: str = "api") -> dict[str, int]:
    """The numbers of the rounds of a source, by the last words of their names."""
    scrape, words = sidecar.scrape(), ("begun", "completed", "mismatched", "open", "unpaired")
    names = {word: f"marketdata_ingestion_rounds_{word}" + ("" if word == "open" else "_total") for word in words}
    return {word: int(scrape.total(name, source=source)) for word, name in names.items()}


def events(sidecar: Sidecar) -> dict[str, int]:
    scrape = sidecar.scrape()
    return {name: int(scrape.total("marketdata_ingestion_events_total", event=name)) for name in EVENTS}


def rejected(sidecar: Sidecar, topic: str) -> float:
    return sidecar.scrape().total("marketdata_records_rejected_total", topic=topic, reason="invalid_json")


def state(sidecar: Sidecar, source: str = "api") -> str:
    series = sidecar.scrape().series("marketdata_ingestion_source_state", source=source)
    return next(each["state"] for each in series if each.value)


def currencies(sidecar: Sidecar) -> set[str]:
    series = sidecar.scrape().series("marketdata_ingestion_rate_updated_timestamp_seconds")
    return {each["currency"] for each in series}


def eventually_counts(sidecar: Sidecar, **wanted: int) -> None:
    eventually(lambda: wanted.items() <= counts(sidecar).items(), SHOWN_SECONDS, f"not {wanted}")


def owners(sidecars: Sequence[Sidecar], services: Services, name: str) -> list[Sidecar]:
    """Those that read a topic, as often as they read a partition of it."""
    topic = services.prefix + name
    return [each for each in sidecars for _ in each.scrape().series("marketdata_consumer_position_offset", topic=topic)]
