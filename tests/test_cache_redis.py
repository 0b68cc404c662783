"""The cache on a real Redis that is shared, killed, stopped, full, read-only, or another one than before."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector
from exporter.performance import CacheManager
from exporter.performance.cache.connections import CONNECTIONS, FAILURES, OPEN_SECONDS
from tests.support.caches import KINDS, Calls, Clock
from tests.support.process import free_port
from tests.support.redis import RedisServer
from tests.test_cache import Loader

READERS, READS, KEYS = 10_000, 20, 1000


class Caches:
    """Caches that share one Redis, as those of several processes do."""

    def __init__(self, kind: type[Calls], url: str) -> None:
        self.clock = Clock()
        self._kind = kind
        self._url = url
        self._made: list[Calls] = []

    def __call__(self, **options: Any) -> Calls:
        collector = MetricsCollector(registry=CollectorRegistry(), strict=True)
        # Longer than a busy machine may take, where no test waits for it.
        options = {"redis_timeout": 5.0, **options}
        cache = CacheManager("quotes", redis_url=self._url, collector=collector, clock=self.clock, **options)
        self._made.append(self._kind(cache))
        return self._made[-1]

    def close(self) -> None:
        """Close all."""
        for each in self._made:
            each.close()


@pytest.fixture(params=KINDS)
def caches(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Caches]:
    """Makes caches on the Redis of this session."""
    found = Caches(request.param, redis_server.url)
    yield found
    found.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may kill."""
    server = RedisServer(tmp_path / "redis").start()
    yield server
    server.kill()


@pytest.fixture(params=KINDS)
def caches_of_own(request: pytest.FixtureRequest, own_redis: RedisServer) -> Iterator[Caches]:
    """Makes caches on that Redis."""
    found = Caches(request.param, own_redis.url)
    yield found
    found.close()


def tier(calls: Calls, name: str = "redis") -> dict[str, Any]:
    found: dict[str, Any] = calls.cache.get_cache_statistics()["tiers"][name]
    return found


def test_what_one_process_loads_another_finds(caches: Caches) -> None:
    loader, value = Loader(lambda key: {"price": 1.5, "tags": ["a", None]}), {"price": 1.5, "tags": ["a", None]}
    one, other = caches(), caches()
    assert [one.call("get", "BTC", loader), other.call("get", "BTC", loader)] == [value, value]
    assert len(loader.asked) == 1
    assert (tier(one)["misses"], tier(other)["hits"]) == (1, 1)
    assert other.cache.get_cache_statistics()["hits"] == 1


def test_a_negative_answer_is_shared(caches: Caches) -> None:
    loader = Loader(lambda key: None)
    for each in (caches(), caches()):
        assert each.call("get", "BTC", loader) is None
    assert len(loader.asked) == 1


def test_what_came_from_redis_is_not_kept_for_longer_than_there(caches: Caches, redis_server: RedisServer) -> None:
    caches().call("set", "BTC", 1, ttl=1000)
    with redis_server.client() as client:
        client.pexpire("quotes:k:BTC", 50_000)
    other = caches(ttl=1000)
    assert other.call("get", "BTC") == 1
    caches.clock.now += 50
    with redis_server.client() as client:
        client.delete("quotes:k:BTC")
    assert other.call("get", "BTC") is None


def test_entries_in_redis_end(caches: Caches, redis_server: RedisServer) -> None:
    caches(ttl=60, negative_ttl=10).call("get", "BTC", Loader())
    caches(ttl=60, negative_ttl=10).call("get", "no", Loader(lambda key: None))
    with redis_server.client() as client:
        assert 50_000 < client.pttl("quotes:k:BTC") <= 60_000
        assert 5_000 < client.pttl("quotes:k:no") <= 10_000
        assert all(client.pttl(name) > 0 for name in client.scan_iter())


@pytest.mark.parametrize("prefix", ["up*[a]?\\:", "", "okx"])
def test_an_invalidation_reaches_redis(caches: Caches, redis_server: RedisServer, prefix: str) -> None:
    keys = ["up*[a]?\\:1", "upXa", "okx:1", "BTC"]
    one = caches()
    for key in keys:
        one.call("set", key, key)
    one.call("invalidate", "BTC")
    one.call("invalidate_prefix", prefix)
    with redis_server.client() as client:
        left = {name.removeprefix("quotes:k:") for name in client.scan_iter("quotes:k:*")}
    assert left == {key for key in keys[:3] if not key.startswith(prefix)}


@pytest.mark.parametrize(
    ("method", "arguments"), [("invalidate", ["BTC"]), ("invalidate_prefix", ["B"]), ("set", ["BTC", "new"])]
)
def test_a_load_of_before_an_invalidation_in_another_process_is_not_written(
    caches: Caches, method: str, arguments: list[str]
) -> None:
    one, other = caches(), caches()

    def loader(key: str) -> str:
        # The other process has its own event loop; here it has its own connections.
        getattr(other.cache, method)(*arguments)
        return "old"

    assert one.call("get", "BTC", loader) == "old"
    assert caches().call("get", "BTC", Loader(lambda key: "new")) == "new"


def test_a_value_that_json_would_change_stays_in_memory(caches: Caches, caplog: pytest.LogCaptureFixture) -> None:
    one, other = caches(), caches()
    with caplog.at_level(logging.WARNING, "exporter.performance"):
        for key in ("a", "b", "a"):
            assert one.call("get", key, lambda key: (1, 2)) == (1, 2)
    assert other.call("get", "a") is None
    assert [record.getMessage() for record in caplog.records] == [
        "a value is kept in memory only, it cannot be written to Redis: "
        "a value of type tuple is not the same after encode and decode"
    ]


def test_values_may_have_their_own_form(caches: Caches) -> None:
    forms: dict[str, Any] = {
        "encode": lambda value: ",".join(value).encode(),
        "decode": lambda b: (*b.decode().split(","),),
    }
    for each in (caches(**forms), caches(**forms)):
        assert each.call("get", "a", lambda key: ("x", "y")) == ("x", "y")
    assert tier(each)["hits"] == 1


@pytest.mark.parametrize("spoil", ["garbage", "json", "hash"])
def test_what_another_program_wrote_is_no_answer(caches: Caches, redis_server: RedisServer, spoil: str) -> None:
    with redis_server.client() as client:
        if spoil == "hash":
            client.hset("quotes:k:BTC", "a", "b")
        else:
            client.set("quotes:k:BTC", {"garbage": "\x00", "json": "+{"}[spoil], px=100_000)
    one = caches()
    assert one.call("get", "BTC", Loader()) == "BTC"
    assert caches().call("get", "BTC") == "BTC"


def read_all(calls: Calls, number: int) -> list[Any]:
    return [calls.call("get", str(key), Loader(int)) for key in range(number)]


def test_a_redis_that_is_killed_costs_a_breaker_and_comes_back(
    caches_of_own: Caches, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "exporter.performance")
    calls = caches_of_own()
    read_all(calls, 3)
    own_redis.kill()
    calls.cache.clear_memory()
    assert read_all(calls, 50) == list(range(50))
    assert tier(calls)["errors"] == FAILURES
    own_redis.start()
    caches_of_own.clock.now += OPEN_SECONDS
    calls.cache.clear_memory()
    assert read_all(calls, 3) == [0, 1, 2]
    assert read_all(caches_of_own(), 3) == [0, 1, 2]
    assert tier(calls)["errors"] == FAILURES
    lines = [record.getMessage() for record in caplog.records if record.name == "exporter.performance"]
    assert [re.sub(": .+", ": why", line) for line in lines] == [
        "cache quotes does without Redis for a while: why",
        "cache quotes uses Redis again",
    ]


def test_a_wrong_address_is_refused() -> None:
    with pytest.raises(ValueError, match=r'redis\.url: got "localhost:6379", expected'):
        CacheManager(redis_url="localhost:6379")


def test_a_redis_that_hangs_costs_a_breaker(caches_of_own: Caches, own_redis: RedisServer) -> None:
    calls = caches_of_own(redis_timeout=0.2)
    read_all(calls, 3)
    own_redis.freeze()
    calls.cache.clear_memory()
    assert read_all(calls, 100) == list(range(100))
    assert tier(calls)["errors"] == FAILURES
    own_redis.resume()


def make_full(redis: RedisServer) -> None:
    with redis.client() as client:
        client.config_set("maxmemory", 1)


def make_read_only(redis: RedisServer) -> None:
    with redis.client() as client:
        client.replicaof("127.0.0.1", free_port())


@pytest.mark.parametrize("spoil", [make_full, make_read_only])
def test_a_redis_that_takes_no_writes_is_read_still(
    caches_of_own: Caches, own_redis: RedisServer, spoil: Callable[[RedisServer], None]
) -> None:
    calls = caches_of_own()
    read_all(calls, 3)
    spoil(own_redis)
    calls.cache.clear_memory()
    assert read_all(calls, 50) == list(range(50))
    assert (tier(calls)["hits"], tier(calls)["errors"]) == (3, FAILURES)


@pytest.mark.parametrize("spoil", [make_full, make_read_only, RedisServer.freeze])
@pytest.mark.parametrize(
    ("method", "arguments"), [("invalidate", ["BTC"]), ("invalidate_prefix", ["B"]), ("set", ["BTC", "NEW"])]
)
def test_what_could_not_be_deleted_in_redis_is_not_read_there(
    caches_of_own: Caches,
    own_redis: RedisServer,
    spoil: Callable[[RedisServer], None],
    method: str,
    arguments: list[str],
) -> None:
    calls = caches_of_own(redis_timeout=0.2)
    calls.call("set", "BTC", "old")
    spoil(own_redis)
    calls.call(method, *arguments)
    calls.cache.clear_memory()
    if spoil is RedisServer.freeze:
        own_redis.resume()
    assert calls.call("get", "BTC", lambda key: "new") == "new"


def test_a_deletion_is_made_up_for_when_redis_is_back(caches_of_own: Caches, own_redis: RedisServer) -> None:
    calls = caches_of_own(redis_timeout=0.2)
    calls.call("set", "BTC", "old")
    own_redis.freeze()
    calls.call("invalidate", "BTC")
    own_redis.resume()
    assert calls.call("get", "BTC", lambda key: "new") == "new"
    assert caches_of_own().call("get", "BTC") == "new"


def test_another_redis_in_its_place_is_filled(caches_of_own: Caches, own_redis: RedisServer) -> None:
    calls = caches_of_own()
    read_all(calls, 3)
    own_redis.kill()
    own_redis.start()
    calls.cache.clear_memory()
    read_all(calls, 3)
    assert read_all(caches_of_own(), 3) == [0, 1, 2]


def zipf_keys(number: int, seed: int = 7) -> list[str]:
    """Keys of which the n-th is asked for in proportion to 1 / n."""
    weights = [1 / rank for rank in range(1, KEYS + 1)]
    return [str(key) for key in random.Random(seed).choices(range(KEYS), weights, k=number)]


@pytest.mark.parametrize("capacity", [KEYS, 700])
def test_ten_thousand_readers_get_right_values_while_redis_is_killed_and_comes_back(
    own_redis: RedisServer, capacity: int
) -> None:
    """Each key is loaded once, or with less room one at a time; nine in ten reads need no load at all."""
    running, most, loads = Counter[str](), Counter[str](), Counter[str]()
    collector = MetricsCollector(registry=CollectorRegistry())
    cache = CacheManager("quotes", capacity=capacity, redis_url=own_redis.url, collector=collector)
    keys = iter(zipf_keys(READERS * READS))
    begun = count()
    events: Mapping[int, Callable[[], object]] = {
        READERS * READS // 4: own_redis.kill,
        READERS * READS * 3 // 4: own_redis.start,
    }

    async def loader(key: str) -> dict[str, str]:
        loads[key] += 1
        running[key] += 1
        most[key] = max(most[key], running[key])
        await asyncio.sleep(0)
        running[key] -= 1
        return {"of": key}

    async def reader() -> None:
        for _ in range(READS):
            if event := events.get(next(begun)):
                await asyncio.to_thread(event)
            key = next(keys)
            assert await cache.aget(key, loader) == {"of": key}
            await asyncio.sleep(0)

    async def main() -> None:
        async with cache:
            await asyncio.gather(*[reader() for _ in range(READERS)])

    asyncio.run(main())
    found = cache.get_cache_statistics()
    assert found["requests"] == READERS * READS
    assert found["hit_rate"] > 0.9
    assert set(most.values()) == {1}
    assert capacity < KEYS or set(loads.values()) == {1}


def test_readers_in_an_event_loop_that_hangs_on_redis_wait_for_few_requests(own_redis: RedisServer) -> None:
    collector = MetricsCollector(registry=CollectorRegistry())
    cache = CacheManager("quotes", redis_url=own_redis.url, redis_timeout=0.2, collector=collector, clock=Clock())
    own_redis.freeze()

    async def main() -> list[Any]:
        found = await asyncio.gather(*[cache.aget(str(key), lambda key: int(key)) for key in range(500)])
        await cache.aclose()
        return found

    assert asyncio.run(main()) == list(range(500))
    # Until the breaker opens, each that fails makes room for another one.
    assert cache.get_cache_statistics()["tiers"]["redis"]["errors"] < CONNECTIONS + FAILURES
    own_redis.resume()
