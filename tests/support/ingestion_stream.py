"""The topics of one test, and consumers of them."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from typing import Any

from exporter.ingestion import IngestionProducer, MessageConsumer, create_topics
from tests.support.cluster import Cluster, Record
from tests.support.ingesting import GROUP, TOPIC
from tests.support.ingestion import EXAMPLES

RATE = EXAMPLES[TOPIC]
CODES = ("USD", "EUR", "JPY", "CNH", "GBP", "CHF")


class Stream:
    """The topics of one test in a broker, with a prefix of their own."""

    def __init__(self, broker: Cluster) -> None:
        self.broker = broker
        self.prefix = f"{uuid.uuid4().hex[:8]}."
        asyncio.run(create_topics(**self.places, error_topic=f"{self.prefix}errors"))

    @property
    def places(self) -> dict[str, Any]:
        """Where the topics are."""
        return {"bootstrap_servers": self.broker.bootstrap, "prefix": self.prefix}

    def producer(self, **arguments: Any) -> IngestionProducer:
        """A producer that is not started yet."""
        return IngestionProducer(**{**self.places, "error_topic": f"{self.prefix}errors", **arguments})

    def consumer(self, *topics: str, **arguments: Any) -> MessageConsumer:
        """A member of the group of this test."""
        return MessageConsumer(topics or (TOPIC,), GROUP + self.prefix, **{**self.places, **arguments})

    def records(self, topic: str) -> list[Record]:
        """What lies in a topic."""
        return self.broker.read_all(self.prefix + topic)

    def write_rates(self, rates: int, first: int = 1) -> None:
        """Write rates 1, 2, 3 and so on of each currency."""
        numbers = range(first, first + rates)
        values = [RATE | {"currency_code": code, "deal_base_rate": rate} for rate in numbers for code in CODES]
        records = [Record(json.dumps(value).encode(), value["currency_code"].encode()) for value in values]
        self.broker.produce(self.prefix + TOPIC, records, is_idempotent=True)

    def committed(self, topic: str = TOPIC) -> int:
        """How many events the group has acknowledged."""
        return sum(self.broker.committed(GROUP + self.prefix, self.prefix + topic).values())


class Handled:
    """A handler that keeps what it was called with, and stops the consumer after so many events."""

    def __init__(self, consumer: MessageConsumer, count: int) -> None:
        self.events: list[Any] = []
        self._consumer = consumer
        self._count = count

    async def __call__(self, event: Any) -> None:
        self.events.append(event)
        if len(self.events) == self._count:
            self._consumer.stop()

    def by_currency(self) -> dict[str, list[float]]:
        """The rates of each currency in the order of the calls."""
        found = defaultdict[str, list[float]](list)
        for event in self.events:
            found[event.currency_code].append(event.deal_base_rate)
        return found


def consume(consumer: MessageConsumer, handler: Any, seconds: float = 60.0) -> None:
    """Consume until the handler stops it."""

    async def program() -> None:
        await consumer.initialize()
        await asyncio.wait_for(consumer.consume_messages(handler), seconds)

    asyncio.run(program())
