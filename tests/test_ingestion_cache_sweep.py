"""Histories of currencies with another rate: dropped with the rate where their names are known, else by a sweep."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from redis import Redis

from exporter.config.schema import RedisConfig
from exporter.ingestion.cache.keys import NAMES, OPEN, Histories
from exporter.ingestion.cache.metrics import CacheMetrics
from exporter.ingestion.cache.redis_cache import KEYS_PER_SCAN, NAMES_MAX, Applied, RedisCache
from exporter.ingestion.cache.sweeping import Sweeper, end_tasks
from tests.support.redis import RedisServer
from tests.test_ingestion_cache_redis import LIFETIMES, applied, cache_of, write

CODES = [f"C{number}" for number in range(50)]


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    """A client of the Redis of this session, which is empty."""
    with redis_server.client() as client:
        yield client


def test_histories_whose_names_are_known_are_dropped_with_the_update(redis_server: RedisServer, client: Redis) -> None:
    """Names are those of any currency; a reader finds no history of an older rate beside a newer one."""
    client.set("history:USD:1d", "x")
    applied(redis_server.url, write(5))
    client.mset(dict.fromkeys(["history:USD", "history:USD:1d", "history:EUR:1d", "history:JPY:1d"], "x"))

    async def without_sweep() -> list[Applied]:
        async with cache_of(redis_server.url) as cache:
            return [await cache.apply(each) for each in (write(6), write(6, "EUR"))]

    assert asyncio.run(without_sweep()) == [Applied(written=1, dropped=2), Applied(written=1, dropped=1)]
    assert set(client.scan_iter("history:*")) == {"history:JPY:1d"}


def test_the_names_of_histories_are_limited(redis_server: RedisServer, client: Redis) -> None:
    for at in range(3):
        client.mset({f"history:USD:{at}-{number}": "x" for number in range(NAMES_MAX)})
        client.set(f"history:USD:{'long' * 50}", "x")
        applied(redis_server.url, write(at))
        assert list(client.scan_iter("history:*")) == []
        assert client.scard(NAMES) == NAMES_MAX
    assert 0 < client.pttl(NAMES) <= LIFETIMES.seen_ms


def test_one_pass_serves_all_updates_that_wait(redis_server: RedisServer, client: Redis) -> None:
    others = {f"session:{number}": "x" for number in range(20_000)}
    client.mset({**others, **{f"history:{code}:{name}": "x" for code in CODES for name in ("1d", "1h")}})

    async def main() -> int:
        async with cache_of(redis_server.url) as cache:
            for at in range(10):
                for code in CODES:
                    await cache.apply(write(at, code))
            client.config_resetstat()
            return await cache.sweep()

    assert asyncio.run(main()) == 2 * len(CODES)
    calls = client.info("commandstats")["cmdstat_scan"]["calls"]
    assert calls <= 2 * len(others) / KEYS_PER_SCAN
    assert not client.exists(OPEN)


def test_a_sweep_without_updates_scans_nothing(redis_server: RedisServer, client: Redis) -> None:
    client.config_resetstat()
    assert applied(redis_server.url) == []
    assert "cmdstat_scan" not in client.info("commandstats")


class Overtaken(RedisCache):
    """A service whose sweep is overtaken by an update."""

    def __init__(self, url: str, client: Redis) -> None:
        super().__init__(RedisConfig(url=url), LIFETIMES)
        self._other = client
        self._execute: Any = self._client.execute_command
        own: Any = self._client
        own.execute_command = self._after_update

    async def _after_update(self, *arguments: Any, **options: Any) -> Any:
        if arguments[0] == "SCAN":
            self._other.hset(OPEN, "USD", "6")
        return await self._execute(*arguments, **options)


def test_an_update_during_a_sweep_waits_for_the_next(redis_server: RedisServer, client: Redis) -> None:
    async def main() -> None:
        cache = Overtaken(redis_server.url, client)
        await cache.apply(write(5))
        await cache.apply(write(5, "EUR"))
        await cache.sweep()
        await cache.close()

    asyncio.run(main())
    assert client.hgetall(OPEN) == {"USD": "6"}


def test_updates_wake_the_sweeper_and_it_sweeps_what_others_left(redis_server: RedisServer, client: Redis) -> None:
    client.hset(OPEN, "EUR", "1")
    client.mset({"history:EUR:1d": "x", "history:USD:1d": "x"})

    async def main() -> None:
        async with cache_of(redis_server.url) as cache:
            sweeping = asyncio.create_task(Sweeper(cache, CacheMetrics(CollectorRegistry())).run())
            await gone(client, "history:EUR:1d")
            await cache.apply(write(5))
            await gone(client, "history:USD:1d")
            await end_tasks([sweeping])

    asyncio.run(main())


async def gone(client: Redis, key: str) -> None:
    """Wait until a key is gone."""
    while client.exists(key):
        await asyncio.sleep(0)


_TEXT = st.text("ab:", min_size=1, max_size=4)


@given(st.sets(_TEXT, min_size=1, max_size=3), _TEXT)
def test_histories_are_those_that_begin_with_a_currency(codes: set[str], rest: str) -> None:
    name = Histories(codes).name(f"history:{rest}")
    owners = [code for code in codes if rest.startswith(f"{code}:")]
    assert (name is not None) is bool(owners)
    assert name is None or any(rest == f"{code}:{name}" for code in owners)


def test_one_currency_has_a_pattern_of_its_own() -> None:
    assert Histories(["J(1)"]).pattern == "history:J(1):*"
    assert Histories(["USD", "EUR"]).pattern == "history:*:*"
