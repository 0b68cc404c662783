"""A publisher of rates, a broker, two cache services, a Redis, and a reader of the caches that never pauses."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import redis

from exporter.ingestion.encodings import decode
from exporter.ingestion.events import ExchangeRateUpdated
from tests.support.cache_service import CacheService
from tests.support.ingesting import TOPIC
from tests.support.kafka import Broker
from tests.support.process import Part
from tests.support.publishing import CODES, RatePublisher
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

AGAIN_SECONDS = 60.0


class Reader:
    """Reads the rates of all currencies again and again; `newest` is the greatest that it has seen of each."""

    def __init__(self, port: int) -> None:
        self.newest = dict.fromkeys(CODES, 0.0)
        self.older: list[tuple[str, float, float]] = []
        self._client = redis.Redis(port=port, socket_timeout=1.0, decode_responses=True)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()

    def rates(self) -> dict[str, float | None]:
        """Return the cached rates."""
        found: list[Any] = self._client.mget([f"rate:{code}" for code in CODES])
        rates = [None if each is None else float(json.loads(each)["deal_base_rate"]) for each in found]
        return dict(zip(CODES, rates, strict=True))

    def has_all_after(self, number: float) -> bool:
        """Whether it has seen a rate after this one of each currency."""
        return min(self.newest.values()) > number

    def _run(self) -> None:
        while not self._over.is_set():
            with suppress(redis.RedisError):
                for code, rate in self.rates().items():
                    self._note(code, rate)

    def _note(self, code: str, rate: float | None) -> None:
        if rate is None:
            return
        if rate < self.newest[code]:
            self.older.append((code, self.newest[code], rate))
        self.newest[code] = max(rate, self.newest[code])


class CachingStage:
    """All of them, over topics of their own; ended with the context."""

    def __init__(self, directory: Path, broker: Broker) -> None:
        self.broker = broker
        self.prefix = f"{uuid.uuid4().hex[:8]}."
        self.redis = RedisServer(directory / "redis")
        self.reader = Reader(self.redis.port)
        self.publisher = RatePublisher(directory / "publisher", broker.bootstrap, self.prefix)
        arguments = broker.bootstrap, self.redis.url, self.prefix, "--create-topics"
        self.services = [CacheService(directory / f"cache-{number}", *arguments) for number in range(2)]

    @property
    def parts(self) -> dict[str, Part]:
        """Whatever can be killed."""
        one, two = self.services
        return {"a service": one, "the other service": two, "Redis": self.redis, "publisher": self.publisher}

    def __enter__(self) -> Self:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Part.start, self.parts.values()))
        self.reader.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.__exit__()
        for part in (self.publisher, *self.services, self.redis):
            part.kill()

    def is_shared(self) -> bool:
        """Whether both services have partitions."""
        return all(service.scrape().series("marketdata_cache_queued_events") for service in self.services)

    def goes_on(self) -> None:
        """Wait until a reader has a rate of each currency that was sent from now on."""
        number = self.publisher.last
        eventually(lambda: self.reader.has_all_after(number), AGAIN_SECONDS, "the caches do not go on")

    def kill(self, part: Part, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Kill a part, and start it again."""
        part.kill()
        meanwhile()
        part.start()
        self.goes_on()

    def last_rates(self) -> dict[str, float]:
        """Return the rate of the last event of each currency, from the topic."""
        last: dict[str, ExchangeRateUpdated] = {}
        for record in self.broker.read_all(self.prefix + TOPIC):
            event = decode(TOPIC, record.value)
            assert isinstance(event, ExchangeRateUpdated)
            last[event.currency_code] = max(event, last.get(event.currency_code, event), key=lambda e: e.deal_base_rate)
        return {code: event.deal_base_rate for code, event in last.items()}

    def finish(self) -> None:
        """End the publisher; wait until the caches are as the last events, and end the services cleanly."""
        self.publisher.stop()
        last = self.last_rates()
        eventually(lambda: self.reader.rates() == last, AGAIN_SECONDS, f"expected {last}")
        for service in self.services:
            service.stop()
        assert self.reader.older == []
        assert self.broker.read_all(f"{self.prefix}{TOPIC}.dead_letter") == []
