"""How many events a second a cache service follows beside 100,000 other keys, and what readers of Redis notice."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis

from exporter.ingestion.events import PARTITIONS
from tests.bench.bench import Bench, Subject
from tests.bench.figures import Cases, quantile
from tests.bench.process import processor_seconds
from tests.bench.result import Result
from tests.support.cache_service import CacheService
from tests.support.cluster import Record
from tests.support.ingesting import TOPIC
from tests.support.publishing import rate_of
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

CODES = [f"C{number:02}" for number in range(50)]
KEYS, HISTORIES, CHUNK = 100_000, 4, 10_000
EVENTS = "marketdata_cache_events_total"
SECONDS = 600.0
FILL = "for i = ARGV[1], ARGV[2] - 1 do redis.call('SET', 'session:' .. i, string.rep('x', 100)) end"


class Measured:
    """A broker's topics and a Redis with other keys, for one repeat."""

    def __init__(self, bench: Bench, redis: RedisServer, events: int) -> None:
        self.broker = bench.broker
        self.directory = bench.directory / uuid.uuid4().hex[:8]
        self.redis = redis
        self.events = events
        self.prefix = f"{uuid.uuid4().hex[:8]}."
        for topic, partitions in PARTITIONS.items():
            self.broker.create_topic(self.prefix + topic, partitions)

    def fill_redis(self) -> None:
        """Write other keys, and some histories of each currency."""
        with self.redis.client() as client:
            client.flushall()
            for begin in range(0, KEYS, CHUNK):
                client.eval(FILL, 0, begin, begin + CHUNK)
            client.mset({f"history:{code}:{number}d": "x" for code in CODES for number in range(HISTORIES)})

    def publish(self, first: int, count: int) -> None:
        """Write updates of all currencies, in turns."""
        numbers = range(first, first + count)
        events = [(code := CODES[number % len(CODES)], rate_of(code, number)) for number in numbers]
        self.broker.produce(
            self.prefix + TOPIC, [Record(json.dumps(event).encode(), code.encode()) for code, event in events]
        )

    @contextmanager
    def service(self) -> Iterator[CacheService]:
        """Run a service that has handled a first event."""
        service = CacheService(self.directory, self.broker.bootstrap, self.redis.url, self.prefix)
        service.start()
        try:
            self.publish(1, len(CODES))
            eventually(lambda: handled(service) == len(CODES), SECONDS)
            yield service
        finally:
            service.stop()


def handled(service: CacheService) -> float:
    """How many events it has handled."""
    return service.scrape().total(EVENTS)


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Measure a bare consumer, a service, and how long histories with new names stay."""
    cases: Cases = {}
    for repeat in range(options.repeats):
        redis = RedisServer(bench.directory / f"redis-caches-{repeat}").start()
        try:
            for name, contest in CONTESTANTS.items():
                measured = Measured(bench, redis, options.events)
                measured.fill_redis()
                for figure, value in contest(measured).items():
                    cases.setdefault(name, {}).setdefault(figure, []).append(value)
                bench.progress(f"{name} done")
        finally:
            redis.kill()
    return cases


def _bare(measured: Measured) -> dict[str, float]:
    measured.publish(1, measured.events)
    arguments = [measured.broker.bootstrap, measured.prefix + TOPIC, measured.redis.port, measured.events]
    command = [sys.executable, "-m", "tests.bench.bare_cache", *map(str, arguments)]
    delays, done = _beside(
        measured.redis, lambda: subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=SECONDS)
    )
    result = Result(**json.loads(done.stdout))
    return _figures(measured.events, result.wall_seconds, result.processor_seconds, delays)


def _service(measured: Measured) -> dict[str, float]:
    with measured.service() as service:
        begun, spent = time.perf_counter(), processor_seconds(service.pid)
        measured.publish(1 + len(CODES), measured.events)
        expected = len(CODES) + measured.events
        delays, _ = _beside(measured.redis, lambda: eventually(lambda: handled(service) >= expected, SECONDS))
        seconds, spent = time.perf_counter() - begun, processor_seconds(service.pid) - spent
    return _figures(measured.events, seconds, spent, delays)


def _history(measured: Measured) -> dict[str, float]:
    """Write a history with a new name, update its currency, and wait until the history is gone."""
    with measured.service(), measured.redis.client() as client:
        key, number = "history:C00:new", 2 * len(CODES)
        client.set(key, "x")
        measured.publish(number, 1)
        eventually(lambda: rate(client) == number, SECONDS)
        begun = time.perf_counter()
        eventually(lambda: not client.exists(key), SECONDS)
        seconds = time.perf_counter() - begun
    return {"history_outlives_rate_seconds": seconds}


def rate(client: Redis) -> float:
    """The cached rate of the first currency."""
    found: Any = client.get("rate:C00")
    return float(json.loads(found)["deal_base_rate"])


CONTESTANTS: dict[str, Callable[[Measured], dict[str, float]]] = {
    "bare consumer that SETs": _bare,
    "cache service": _service,
    "history with a new name": _history,
}


def _figures(events: int, seconds: float, spent: float, delays: list[float]) -> dict[str, float]:
    return {
        "events_per_second": events / seconds,
        "event_us": spent / events * 1e6,
        "get_p99_ms": 1000 * quantile(delays, 0.99),
    }


def _beside(redis: RedisServer, work: Callable[[], Any]) -> tuple[list[float], Any]:
    """Return the seconds that each of another client's reads took meanwhile, 200 a second, and the result."""
    delays: list[float] = []
    over = threading.Event()

    def read() -> None:
        with redis.client() as client:
            while not over.wait(0.005):
                begun = time.perf_counter()
                client.get("rate:C00")
                delays.append(time.perf_counter() - begun)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        return delays, work()
    finally:
        over.set()
        reader.join()


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)


CACHES = Subject("how many events a cache service follows beside 100,000 other keys", _add_options, measure)
