"""Caches whose Redis is away, full, read-only or another one: events wait. Large invalidations hold up no reader."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from exporter.ingestion.cache.actions import Drop, Lifetimes
from exporter.ingestion.cache.following import CacheFollower
from exporter.ingestion.cache.keys import KINDS
from exporter.ingestion.cache.redis_cache import KEYS_PER_UNLINK, RATES_PER_CALL, Applied, CacheUnavailable, RedisCache
from exporter.ingestion.events import CacheInvalidation, DataProcessingCompleted, Event, ExchangeRateUpdated
from tests.support.process import free_port
from tests.support.redis import RedisServer
from tests.test_ingestion_cache_redis import applied, cache_of, drop, rate, write

MANY = 100_000
LIMIT_US = 10_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that the tests of this file may spoil."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()


@pytest.fixture
def own_redis(server: RedisServer) -> RedisServer:
    """That Redis, empty and in order."""
    with server.client() as client:
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory", 0)
        client.flushall()
    return server


class Trouble:
    """A state of the server in which nothing can be written."""

    def __init__(self, begin: Callable[[RedisServer], object], end: Callable[[RedisServer], object]) -> None:
        self.begin = begin
        self.end = end


def _configure(name: str, value: int) -> Callable[[RedisServer], object]:
    def change(server: RedisServer) -> None:
        with server.client() as client:
            client.config_set(name, value)

    return change


def _replica_of(*master: str | int) -> Callable[[RedisServer], object]:
    def change(server: RedisServer) -> None:
        with server.client() as client:
            client.execute_command("REPLICAOF", *master)

    return change


TROUBLES = {
    "away": Trouble(RedisServer.kill, RedisServer.start),
    "frozen": Trouble(RedisServer.freeze, RedisServer.resume),
    "full": Trouble(_configure("maxmemory", 1), _configure("maxmemory", 0)),
    "read-only": Trouble(_replica_of("127.0.0.1", free_port()), _replica_of("NO", "ONE")),
    "short of replicas": Trouble(_configure("min-replicas-to-write", 1), _configure("min-replicas-to-write", 0)),
}
INVALIDATION = CacheInvalidation(
    ("exchange_rate:USD", "stats:*"), "exchange_rate_update", "1970-01-01T00:00:00.000005Z"
)
ROUND = DataProcessingCompleted("api", 60, 1500, "1970-01-01T00:00:00.000009Z", "id")


def update(at: int) -> ExchangeRateUpdated:
    """The update whose rate is its time, in microseconds."""
    text = f"1970-01-01T00:00:00.{at:06}Z"
    return ExchangeRateUpdated("USD", "USD", at, 0, 0, "api", text, text)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_events_wait_while_redis_takes_no_writes(own_redis: RedisServer, trouble: str) -> None:
    """Each handler returns after the end of the trouble, by the same connections, and not before."""
    counted: list[tuple[Event, Applied]] = []

    async def main() -> None:
        # Only what hangs needs a short limit, and may need it more than once on a busy machine.
        limit: dict[str, Any] = {"socket_timeout": 0.5} if trouble == "frozen" else {}
        async with cache_of(own_redis.url, **limit) as cache:
            follower = CacheFollower(cache, lambda *changed: counted.append(changed))
            await follower.handle(update(5))
            await asyncio.to_thread(TROUBLES[trouble].begin, own_redis)
            tasks = [asyncio.create_task(follower.handle(each)) for each in (update(7), INVALIDATION, ROUND)]
            try:
                with pytest.raises(CacheUnavailable):
                    await cache.ping()
                while follower.error is None:
                    await asyncio.sleep(0)
                # A full server deletes: there only the update waits.
                assert not any(task.done() for task in (tasks[:1] if trouble == "full" else tasks))
            finally:
                await asyncio.to_thread(TROUBLES[trouble].end, own_redis)
            await asyncio.gather(*tasks)
            await cache.ping()
            assert follower.error is None

    asyncio.run(main())
    assert [event for event, _ in counted[:1]] == [update(5)]
    assert {type(event) for event, _ in counted[1:]} == {
        ExchangeRateUpdated,
        CacheInvalidation,
        DataProcessingCompleted,
    }
    with own_redis.client() as client:
        assert rate(client) == 7


@pytest.mark.parametrize("names", [["exchange_rate:USD"], ["rate:U*"], ["*"]])
def test_a_full_redis_still_drops_what_is_invalid(own_redis: RedisServer, names: list[str]) -> None:
    """And an update from before does not come back when there is room; one of a new currency gets no room."""
    applied(own_redis.url, write(5))
    _configure("maxmemory", 1)(own_redis)
    assert applied(own_redis.url, drop(7, *names)) == [Applied(dropped=1)]
    with pytest.raises(CacheUnavailable, match="OOM"):
        applied(own_redis.url, write(8, "NEW"))
    _configure("maxmemory", 0)(own_redis)
    applied(own_redis.url, write(6))
    with own_redis.client() as client:
        assert rate(client) is None


def test_an_empty_redis_in_its_place_is_filled_by_the_next_events(own_redis: RedisServer) -> None:
    async def main() -> Applied:
        async with cache_of(own_redis.url) as cache:
            await cache.apply(write(5))
            await asyncio.to_thread(own_redis.kill)
            await asyncio.to_thread(own_redis.start)
            with pytest.raises(CacheUnavailable):  # the old connection
                await cache.apply(write(6))
            return await cache.apply(write(6))

    assert asyncio.run(main()) == Applied(written=1)
    with own_redis.client() as client:
        assert rate(client) == 6


class Interrupted(RedisCache):
    """A service that loses Redis before its n-th command."""

    def __init__(self, url: str, commands: int) -> None:
        super().__init__(url, Lifetimes())
        self._execute: Any = self._client.execute_command
        self._left = commands
        client: Any = self._client
        client.execute_command = self._limited

    async def _limited(self, *arguments: Any, **options: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ConnectionError("lost")
        return await self._execute(*arguments, **options)


@pytest.mark.parametrize("commands", range(4))
def test_an_update_that_was_interrupted_is_completed(own_redis: RedisServer, commands: int) -> None:
    """Also when an invalidation comes in between."""

    async def interrupt() -> None:
        cache = Interrupted(own_redis.url, commands)
        with pytest.raises(CacheUnavailable):
            await cache.apply(write(5))
        await cache.close()

    with own_redis.client() as client:
        client.mset({"history:USD": "old", "history:USD:1d": "old"})
        asyncio.run(interrupt())
        between = applied(own_redis.url, drop(7, "rate:USD")) if commands else []
        applied(own_redis.url, write(5))
        assert client.exists("history:USD", "history:USD:1d") == 0
        assert rate(client) == (None if between else 5)


def _fill(client: Redis, count: int) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(count):
        pipeline.set(f"{KINDS[number % 4]}{number}", "x" * 100)
    pipeline.execute()


SELECTIONS: dict[str, Callable[[int], Drop]] = {
    "everything": lambda count: drop(9, "*"),
    "patterns": lambda count: drop(9, *[f"{kind}*{digit}" for kind in KINDS for digit in range(10)]),
    "exact keys": lambda count: drop(9, *[f"{KINDS[number % 4]}{number}" for number in range(count)]),
}


@pytest.mark.parametrize("selection", SELECTIONS)
def test_an_invalidation_of_many_keys_comes_in_slices(own_redis: RedisServer, selection: str) -> None:
    """No command has more keys than a slice, and none but SCAN looks for keys."""
    count = 10_000
    with own_redis.client() as client:
        _fill(client, count)
        client.config_resetstat()
        assert applied(own_redis.url, SELECTIONS[selection](count)) == [Applied(dropped=count)]
        calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in client.info("commandstats").items()}
    assert not {"keys", "del", "flushdb", "flushall"} & calls.keys()
    assert calls["eval"] >= count / 4 / RATES_PER_CALL
    # Others than rates by slices of KEYS_PER_UNLINK; each rate in a script by a call of its own.
    assert calls["unlink"] >= count / 4 + count * 3 / 4 / KEYS_PER_UNLINK


@pytest.mark.bench
@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_hundred_thousand_keys_are_invalidated_without_holding_redis_up(
    own_redis: RedisServer, selection: str
) -> None:
    with own_redis.client() as client:
        _fill(client, MANY)
        client.config_set("slowlog-max-len", 100_000)
        client.config_set("slowlog-log-slower-than", 50)
        client.slowlog_reset()
        delays = _delays_while(own_redis, lambda: applied(own_redis.url, SELECTIONS[selection](MANY)))
        client.config_set("slowlog-log-slower-than", -1)
        held_us = sorted(int(entry["duration"]) for entry in client.slowlog_get(100_000))
        left = sum(1 for _ in client.scan_iter("[rhsa]*", count=1000))
    # Slices are of one size. What is slower than nearly all was waiting for a processor: it may be a single HGET.
    usual_us, longest_us = held_us[len(held_us) // 2], held_us[len(held_us) * 99 // 100]
    reads = [f"{sorted(delays)[int(len(delays) * share)] * 1000:.1f}" for share in (0.5, 0.99)]
    print(f"\n{selection}: Redis held for {usual_us} us, 99 % below {longest_us} us; reads {' / '.join(reads)} ms")
    assert left == 0
    assert longest_us < LIMIT_US


def _delays_while(server: RedisServer, work: Callable[[], object]) -> list[float]:
    """Seconds that each of another client's reads took meanwhile."""
    delays: list[float] = []
    over = threading.Event()

    def read() -> None:
        with server.client() as own:
            while not over.is_set():
                begun = time.perf_counter()
                own.get("rate:0")
                delays.append(time.perf_counter() - begun)

    reader = threading.Thread(target=read)
    reader.start()
    work()
    over.set()
    reader.join()
    return delays
