"""Caches follow events of a real broker: two services in one group, a Redis that is killed and comes back empty."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.ingestion import MessageConsumer, create_topics
from exporter.ingestion.cache.actions import Lifetimes
from exporter.ingestion.cache.following import CacheFollower
from exporter.ingestion.cache.metrics import CacheMetrics, Outcome
from exporter.ingestion.cache.redis_cache import RedisCache
from tests.support.cluster import Record
from tests.support.ingesting import TOPIC
from tests.support.ingestion import EXAMPLES
from tests.support.kafka import Broker
from tests.support.redis import RedisServer
from tests.support.waiting import eventually
from tests.test_ingestion_cache_redis import rate

CODES = ("USD", "EUR", "JPY", "CNH", "GBP", "CHF")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may kill."""
    server = RedisServer(tmp_path / "redis").start()
    yield server
    server.kill()


class Publisher:
    """Writes events to topics of its own."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.prefix = f"{uuid.uuid4().hex[:8]}."
        asyncio.run(create_topics(bootstrap_servers=broker.bootstrap, prefix=self.prefix))

    def rates(self, *rates: int) -> None:
        """Write these rates of each currency, each updated at the second of its number."""
        events = [
            EXAMPLES[TOPIC]
            | {"currency_code": code, "deal_base_rate": each, "updated_at": f"2025-01-27T10:00:{each:02}Z"}
            for each in rates
            for code in CODES
        ]
        self.broker.produce(
            self.prefix + TOPIC,
            [Record(json.dumps(event).encode(), event["currency_code"].encode()) for event in events],
        )

    def invalidate(self, second: int, *keys: str) -> None:
        """Write an invalidation."""
        event = {"cache_keys": keys, "invalidation_type": "t", "invalidated_at": f"2025-01-27T10:00:{second:02}Z"}
        self.broker.produce(f"{self.prefix}cache_invalidation", [Record(json.dumps(event).encode(), None)])


class Services:
    """Two cache services in one group, each with its connections."""

    def __init__(self, publisher: Publisher, redis: RedisServer) -> None:
        self.publisher = publisher
        self.redis = redis
        self.metrics = CacheMetrics(CollectorRegistry())
        self.followers: list[CacheFollower] = []

    async def run(self, story: Any) -> None:
        """Run both until a function, which blocks, has returned."""
        topics = (TOPIC, "cache_invalidation", "data_processing_completed")
        places: dict[str, Any] = {
            "bootstrap_servers": self.publisher.broker.bootstrap,
            "prefix": self.publisher.prefix,
            "config": {"input.start": "earliest"},
        }
        caches = [RedisCache(self.redis.url, Lifetimes()) for _ in range(2)]
        consumers = [MessageConsumer(topics, f"cache-{self.publisher.prefix}", **places) for _ in caches]
        self.followers = [CacheFollower(cache, self.metrics) for cache in caches]
        tasks = [
            asyncio.create_task(consumer.consume_messages(follower.handle))
            for consumer, follower in zip(consumers, self.followers, strict=True)
        ]
        try:
            await asyncio.to_thread(story)
        finally:
            for consumer in consumers:
                consumer.stop()
            await asyncio.gather(*tasks)
            for cache in caches:
                await cache.close()

    @property
    def is_waiting(self) -> bool:
        """Whether an event waits for Redis."""
        return any(follower.error is not None for follower in self.followers)

    def handled(self, topic: str) -> float:
        """How many events of a topic both have handled."""
        return float(sum(self.metrics.events.labels(topic, outcome)._value.get() for outcome in Outcome))

    def rates(self) -> set[float | None]:
        """The cached rates of all currencies."""
        with self.redis.client() as client:
            return {rate(client, code) for code in CODES}


def test_caches_equal_the_last_event_of_each_currency_while_redis_is_killed(
    broker: Broker, own_redis: RedisServer
) -> None:
    publisher = Publisher(broker)
    services = Services(publisher, own_redis)

    def story() -> None:
        publisher.rates(1, 2, 5, 4, 3)  # the last two are late
        eventually(lambda: services.rates() == {5}, 30)
        own_redis.kill()
        publisher.rates(6, 7)
        eventually(lambda: services.is_waiting, 30)
        own_redis.start()
        eventually(lambda: services.rates() == {7}, 30)
        publisher.invalidate(7, "exchange_rate:*")
        eventually(lambda: services.rates() == {None}, 30)
        publisher.rates(7, 8)
        eventually(lambda: services.rates() == {8}, 30)

    asyncio.run(services.run(story))
    assert not services.is_waiting
    # An event may be handled again after a hand-over.
    assert services.handled(TOPIC) >= len(CODES) * 9
    assert services.handled("cache_invalidation") >= 1
    assert broker.read_all(f"{publisher.prefix}{TOPIC}.dead_letter") == []
