"""Caches whose Redis is away, full, read-only or another one: events wait. Large invalidations hold up no reader."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from exporter.config.schema import RedisConfig
from exporter.ingestion.cache.actions import Drop, Lifetimes, Refresh
from exporter.ingestion.cache.following import CacheFollower
from exporter.ingestion.cache.keys import KINDS, NAMES, OPEN
from exporter.ingestion.cache.metrics import TOPICS, CacheMetrics, Outcome
from exporter.ingestion.cache.redis_cache import (
    KEYS_PER_SCAN,
    KEYS_PER_UNLINK,
    RATES_PER_CALL,
    Applied,
    CacheUnavailable,
    RedisCache,
)
from exporter.ingestion.events import CacheInvalidation, DataProcessingCompleted, ExchangeRateUpdated
from exporter.ingestion.lanes import Abandoned
from tests.support.documents import block
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


def outcomes_of(metrics: CacheMetrics, topic: str) -> list[float]:
    """How many events of a topic had each outcome."""
    return [metrics.events.labels(topic, outcome)._value.get() for outcome in Outcome]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_events_wait_while_redis_takes_no_writes(own_redis: RedisServer, trouble: str) -> None:
    """Each handler returns after the end of the trouble, by the same connections, and not before."""
    metrics = CacheMetrics(CollectorRegistry())

    async def main() -> None:
        # Only what hangs needs a short limit, and may need it more than once on a busy machine.
        limit: dict[str, Any] = {"socket_timeout": 0.5} if trouble == "frozen" else {}
        async with cache_of(own_redis.url, **limit) as cache:
            follower = CacheFollower(cache, metrics)
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
    # A command that timed out may have been executed: the event is then a repetition of itself.
    counted = {topic: sum(outcomes_of(metrics, topic)) for topic in TOPICS}
    assert counted == {"exchange_rate_updated": 2, "cache_invalidation": 1, "data_processing_completed": 1}
    assert metrics.waiting._value.get() == 0
    with own_redis.client() as client:
        assert rate(client) == 7


def test_an_event_that_waits_at_a_stop_is_left_to_the_next_service(own_redis: RedisServer) -> None:
    metrics = CacheMetrics(CollectorRegistry())

    async def main() -> None:
        async with cache_of(own_redis.url) as cache:
            follower = CacheFollower(cache, metrics)
            with own_redis.client() as client:
                client.config_set("maxmemory", 1)
                task = asyncio.create_task(follower.handle(update(5)))
                while follower.error is None:
                    await asyncio.sleep(0)
                follower.stop()
                with pytest.raises(Abandoned):
                    await task
                client.config_set("maxmemory", 0)
            await follower.handle(update(6))  # what Redis takes is finished

    asyncio.run(main())
    assert outcomes_of(metrics, "exchange_rate_updated") == [1, 0, 0]


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
        super().__init__(RedisConfig(url=url), Lifetimes())
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
def test_a_sweep_that_was_interrupted_is_completed_by_another_service(own_redis: RedisServer, commands: int) -> None:
    async def interrupt() -> None:
        cache = Interrupted(own_redis.url, commands)
        with pytest.raises(CacheUnavailable):
            await cache.sweep()
        await cache.close()

    with own_redis.client() as client:
        client.mset({"history:USD": "old", "history:USD:1d": "old", "history:EUR:1d": "new"})
        client.sadd(NAMES, *NO_NAMES)
        asyncio.run(written_alone(own_redis.url))
        assert set(client.scan_iter("history:*")) == {"history:USD:1d", "history:EUR:1d"}
        asyncio.run(interrupt())
        asyncio.run(swept(own_redis.url))
        assert set(client.scan_iter("history:*")) == {"history:EUR:1d"}
        assert not client.exists(OPEN)


NO_NAMES = ("a", "b")


async def written_alone(url: str) -> None:
    """Apply an update, and end before the sweep."""
    async with cache_of(url) as cache:
        await cache.apply(write(5))


async def swept(url: str) -> int:
    """Sweep as another service."""
    async with cache_of(url) as cache:
        return await cache.sweep()


def test_the_rights_that_are_told_are_enough(own_redis: RedisServer) -> None:
    rights = block("text", "+eval").split()
    with own_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "cache", "on", ">secret", *rights)
        client.mset({"history:USD:1d": "x", "stats:a": "x"})

    async def main() -> None:
        async with cache_of(own_redis.url, username="cache", password="secret", db=1) as other:
            await other.ping()
        async with cache_of(own_redis.url, username="cache", password="secret") as cache:
            actions = (write(5), drop(6, "*"), write(7), drop(6, "rate:U*", "history:USD"), Refresh("api", 8))
            await cache.ping()
            await cache.limit()
            for action in actions:
                await cache.apply(action)
            await cache.sweep()

    asyncio.run(main())
    with own_redis.client() as client:
        assert (rate(client), client.exists("history:USD:1d", "stats:a")) == (7, 0)
        client.execute_command("ACL", "DELUSER", "cache")


FILL = """
for i = ARGV[1], ARGV[2] - 1 do redis.call('SET', ARGV[3 + i % 4] .. i, string.rep('x', 100)) end
"""


def _fill(client: Redis, count: int) -> None:
    """Write so many keys, of each kind as many."""
    for begin in range(0, count, 10_000):
        client.eval(FILL, 0, begin, min(count, begin + 10_000), *KINDS)


SELECTIONS: dict[str, Callable[[int], Drop]] = {
    "everything": lambda count: drop(9, "*"),
    "patterns": lambda count: drop(9, *[f"{kind}*{digit}" for kind in KINDS for digit in range(10)]),
    "exact keys": lambda count: drop(9, *[f"{KINDS[number % 4]}{number}" for number in range(count)]),
}


class Recorded(RedisCache):
    """A service that notes with how many keys, at most, it calls each command."""

    def __init__(self, url: str) -> None:
        super().__init__(RedisConfig(url=url), Lifetimes())
        self.most = Counter[str]()
        self._execute: Any = self._client.execute_command
        client: Any = self._client
        client.execute_command = self._noted

    async def _noted(self, name: str, *arguments: Any, **options: Any) -> Any:
        keys = arguments[1] if name == "EVAL" else KEYS_PER_SCAN if name == "SCAN" else len(arguments)
        self.most[name] = max(self.most[name], keys)
        return await self._execute(name, *arguments, **options)


async def _recorded(url: str, action: Drop) -> tuple[Applied, Counter[str]]:
    cache = Recorded(url)
    try:
        return await cache.apply(action), cache.most
    finally:
        await cache.close()


@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_hundred_thousand_keys_are_invalidated_in_slices(own_redis: RedisServer, selection: str) -> None:
    """None but SCAN looks for keys, and no command has more keys than a slice; see below for what each takes."""
    with own_redis.client() as client:
        _fill(client, MANY)
        client.config_resetstat()
        done, most = asyncio.run(_recorded(own_redis.url, SELECTIONS[selection](MANY)))
        used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        left = [key for key in client.scan_iter("[rhsa]*", count=1000) if key.startswith(KINDS)]
    assert (done.dropped, left) == (MANY, [])
    assert not {"keys", "del", "flushdb", "flushall"} & used
    assert most["EVAL"] <= 2 * RATES_PER_CALL
    assert most["UNLINK"] <= KEYS_PER_UNLINK


@pytest.mark.bench
@pytest.mark.parametrize("selection", SELECTIONS)
def test_no_command_holds_redis_up_while_a_hundred_thousand_keys_are_invalidated(
    own_redis: RedisServer, selection: str
) -> None:
    """By Redis' own log of slow commands, on a machine with nothing else on it."""
    with own_redis.client() as client:
        _fill(client, MANY)
        client.config_set("slowlog-log-slower-than", LIMIT_US)
        client.slowlog_reset()
        delays = _delays_while(own_redis, lambda: applied(own_redis.url, SELECTIONS[selection](MANY)))
        slow = client.slowlog_get(1000)
    reads = [f"{sorted(delays)[int(len(delays) * share)] * 1000:.1f}" for share in (0.5, 0.99)]
    print(f"\n{selection}: {len(slow)} commands above {LIMIT_US} us; reads {' / '.join(reads)} ms")
    assert slow == []


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
