"""What `CacheManager` costs, and what its readers notice of a Redis that ends or hangs. Without a broker."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, NamedTuple

from cachetools import TLRUCache
from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector
from exporter.performance import CacheManager
from tests.bench.bench import Bench, Subject
from tests.bench.figures import Cases, quantile
from tests.support.redis import RedisServer

READERS, READS, KEYS, CAPACITY = 10_000, 20, 1000, 300
ALL = READERS * READS
CALLS, ROUNDS = 20_000, 7
LOAD_SECONDS = 0.002


class Story(NamedTuple):
    """What happens to Redis: before all readers, and when the reader of a number begins."""

    before: Callable[[RedisServer], object]
    during: Mapping[int, Callable[[RedisServer], object]] = {}


def _nothing(redis: RedisServer) -> None:
    """Let Redis be."""


STORIES = {
    "Redis answers": Story(_nothing),
    "Redis is killed, and started again": Story(
        _nothing, {ALL // 4: RedisServer.kill, ALL * 3 // 4: RedisServer.start}
    ),
    "Redis hangs in the middle": Story(_nothing, {ALL // 2: RedisServer.freeze}),
    "Redis hangs from the start": Story(RedisServer.freeze),
    "no Redis from the start": Story(RedisServer.kill),
}


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Measure hits, and 10,000 readers in each story."""
    cases: Cases = {}
    for repeat in range(options.repeats):
        for name, cost in _hits().items():
            cases.setdefault(name, {"call_us": []})["call_us"].append(cost)
        for name, story in STORIES.items():
            redis = RedisServer(bench.directory / f"redis-{repeat}-{len(cases)}").start()
            try:
                found = asyncio.run(_read(redis, story))
            finally:
                redis.kill()
            case = cases.setdefault(name, {figure: [] for figure in found})
            for figure, value in found.items():
                case[figure].append(value)
        bench.progress("the stories of Redis were played")
    return cases


def _hits() -> dict[str, float]:
    """Return the microseconds of a read that memory answers."""
    cache = CacheManager("bench", collector=MetricsCollector(registry=CollectorRegistry()))
    cache.set("key", 1)
    alone: TLRUCache[str, int] = TLRUCache(1000, lambda key, value, now: now + 60)
    alone["key"] = 1

    async def tasks() -> float:
        begin = time.process_time()
        for _ in range(CALLS):
            await cache.aget("key")
        return time.process_time() - begin

    def calls(call: Callable[[str], object]) -> float:
        begin = time.process_time()
        for _ in range(CALLS):
            call("key")
        return time.process_time() - begin

    rounds = [(calls(cache.get), asyncio.run(tasks()), calls(alone.__getitem__)) for _ in range(ROUNDS)]
    names = ("a hit, get", "a hit, aget", "a hit of cachetools alone")
    return {name: min(times) / CALLS * 1e6 for name, times in zip(names, zip(*rounds, strict=True), strict=True)}


async def _read(redis: RedisServer, story: Story) -> dict[str, float]:
    """Let all readers read at once, 20 keys one after another; values are compared with what they must be."""
    collector = MetricsCollector(registry=CollectorRegistry())
    filled = CacheManager("bench", redis_url=redis.url, collector=MetricsCollector(registry=CollectorRegistry()))
    for key in range(KEYS):
        await filled.aset(str(key), {"of": str(key)})
    await filled.aclose()
    story.before(redis)
    cache = CacheManager("bench", capacity=CAPACITY, redis_url=redis.url, collector=collector)
    loads, most, waits, begun = Counter[str](), Counter[str](), list[float](), count()
    weights = [1 / rank for rank in range(1, KEYS + 1)]
    keys = iter(random.Random(7).choices(list(map(str, range(KEYS))), weights, k=ALL))

    async def loader(key: str) -> Any:
        loads[key] += 1
        most[key] = max(most[key], loads[key])
        await asyncio.sleep(LOAD_SECONDS)
        loads[key] -= 1
        return {"of": key}

    async def reader() -> None:
        for _ in range(READS):
            if event := story.during.get(next(begun)):
                await asyncio.to_thread(event, redis)
            key = next(keys)
            begin = time.perf_counter()
            assert await cache.aget(key, loader) == {"of": key}
            waits.append(time.perf_counter() - begin)
            await asyncio.sleep(0)

    begin = time.perf_counter()
    await asyncio.gather(*[reader() for _ in range(READERS)])
    seconds = time.perf_counter() - begin
    found = cache.get_cache_statistics()
    await cache.aclose()
    return {
        "hit_rate_percent_of_reads": 100 * found["hit_rate"],
        "loads": found["tiers"]["loader"]["hits"],
        "loads_of_a_key_at_once": max(most.values(), default=0),
        "redis_errors": found["tiers"]["redis"]["errors"],
        "reads_per_second": ALL / seconds,
        "read_p99_ms": 1000 * quantile(waits, 0.99),
        "slowest_read_ms": 1000 * max(waits),
    }


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=3)


CACHE = Subject("what a cache costs, and what 10,000 readers notice of Redis", _add_options, measure)
