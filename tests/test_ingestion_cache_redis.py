"""Caches in a real Redis follow events: later news wins, and invalidated rates stay away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from exporter.config.schema import RedisConfig
from exporter.config.tls_files import TlsFiles
from exporter.ingestion.cache.actions import Action, Drop, Lifetimes, Refresh, Write
from exporter.ingestion.cache.keys import SEEN, names_of
from exporter.ingestion.cache.metrics import Outcome
from exporter.ingestion.cache.redis_cache import Applied, RedisCache
from exporter.ingestion.events import ExchangeRateUpdated
from tests.support.redis import RedisServer

LIFETIMES = Lifetimes()
NO_FILES = TlsFiles()
LATE, REPEATED = Applied(outcome=Outcome.LATE), Applied(outcome=Outcome.REPEATED)


def write(at: int, code: str = "USD", source: str = "api") -> Write:
    """An update whose rate is its time."""
    event = ExchangeRateUpdated(code, code, at, 0, 0, source, "2025-01-27T10:00:00Z", "2025-01-27T10:00:00Z")
    return Write(code, at, msgspec.json.encode(event))


def drop(at: int, *names: str) -> Drop:
    return Drop(names_of(names), at)


@asynccontextmanager
async def cache_of(
    url: str, lifetimes: Lifetimes = LIFETIMES, tls: TlsFiles = NO_FILES, **options: Any
) -> AsyncIterator[RedisCache]:
    cache = RedisCache(RedisConfig(url=url, tls=tls), lifetimes, ["marketdata:"], **options)
    try:
        yield cache
    finally:
        await cache.close()


def applied(url: str, *actions: Action, **options: Any) -> list[Applied]:
    """Apply actions one after the other and return what each has changed."""

    async def run() -> list[Applied]:
        async with cache_of(url, **options) as cache:
            found = [await cache.apply(action) for action in actions]
            await cache.sweep()
            return found

    return asyncio.run(run())


def rate(client: Redis, code: str = "USD") -> float | None:
    """The cached rate of a currency."""
    payload: Any = client.get(f"rate:{code}")
    return None if payload is None else float(msgspec.json.decode(payload)["deal_base_rate"])


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    """A client of the Redis of this session, which is empty."""
    with redis_server.client() as client:
        yield client


def test_an_update_is_written_through_and_drops_its_history(redis_server: RedisServer, client: Redis) -> None:
    client.mset(dict.fromkeys(["history:USD", "history:USD:1d", "history:USDT:1d", "history:EUR", "stats:a"], "x"))
    assert applied(redis_server.url, write(5)) == [Applied(written=1, dropped=1)]  # and another by the sweep
    assert rate(client) == 5
    assert set(client.scan_iter("[hs]*")) == {"history:USDT:1d", "history:EUR", "stats:a"}


def test_rates_expire_before_what_is_known_about_them(redis_server: RedisServer, client: Redis) -> None:
    applied(redis_server.url, write(5), lifetimes=Lifetimes(rate=100, seen=200))
    assert 50_000 < client.pttl("rate:USD") <= 100_000
    assert 150_000 < client.pttl(f"{SEEN}rate:USD") <= 200_000


def test_late_and_repeated_updates_change_nothing(redis_server: RedisServer, client: Redis) -> None:
    applied(redis_server.url, write(5))
    client.set("history:USD", "of 5")
    left = client.pexpire("rate:USD", 1_000)
    assert left
    assert applied(redis_server.url, write(4), write(5)) == [LATE, REPEATED]
    assert (rate(client), client.get("history:USD")) == (5, "of 5")
    assert client.pttl("rate:USD") <= 1_000


@pytest.mark.parametrize("names", [["exchange_rate:USD"], ["rate:U*"], ["*"], ["rate:*", "stats:*"], ["r?te:U[S]D"]])
def test_an_update_from_before_an_invalidation_does_not_come_back(
    redis_server: RedisServer, client: Redis, names: list[str]
) -> None:
    applied(redis_server.url, write(5), drop(7, *names), write(6), write(7), write(5))
    assert rate(client) is None
    applied(redis_server.url, write(8))
    assert rate(client) == 8


@pytest.mark.parametrize("names", [["exchange_rate:USD"], ["rate:U*"], ["*"]])
def test_a_late_invalidation_leaves_newer_rates(redis_server: RedisServer, client: Redis, names: list[str]) -> None:
    assert applied(redis_server.url, write(5), drop(4, *names), drop(4, *names))[1:] == [Applied(), Applied()]
    assert rate(client) == 5


def test_an_update_from_before_an_expiry_does_not_come_back(redis_server: RedisServer, client: Redis) -> None:
    applied(redis_server.url, write(5))
    client.delete("rate:USD")  # as Redis does at the end of the time to live
    applied(redis_server.url, write(4), write(5))
    assert rate(client) is None


def test_an_invalidation_of_everything_holds_for_rates_that_are_not_known(
    redis_server: RedisServer, client: Redis
) -> None:
    applied(redis_server.url, drop(7, "*"), write(6, "NEW"), write(8, "EUR"))
    assert (rate(client, "NEW"), rate(client, "EUR")) == (None, 8)


def test_everything_is_all_caches_and_no_other_key(redis_server: RedisServer, client: Redis) -> None:
    others = {"session:1", "marketdata:partitions", "rates"}
    client.mset(dict.fromkeys([*others, "rate:foreign", "history:USD:1d", "stats:a", "analysis:b"], "x"))
    assert applied(redis_server.url, drop(7, "*", "marketdata:*", "marketdata:partitions")) == [Applied(dropped=4)]
    assert {key for key in client.scan_iter() if not key.startswith("ingestion:")} == others


def test_no_event_drops_what_is_known_about_rates(redis_server: RedisServer, client: Redis) -> None:
    applied(redis_server.url, write(5), drop(9, "ingestion:*", f"{SEEN}rate:USD", "ingestion:floor"), write(4))
    assert rate(client) == 5


def test_a_round_drops_what_is_derived_and_prolongs_rates_of_its_source(
    redis_server: RedisServer, client: Redis
) -> None:
    applied(redis_server.url, write(5), write(5, "EUR", "bank"))
    for key in list(client.scan_iter()):
        client.pexpire(key, 9_000)
    client.mset(dict.fromkeys(["stats:a", "analysis:b", "history:USD", "rate:foreign"], "x"))
    assert applied(redis_server.url, Refresh("api", 6), Refresh("api", 6), Refresh("api", 5)) == [
        Applied(dropped=2, refreshed=2), REPEATED, LATE
    ]  # fmt: skip
    assert client.pttl("rate:USD") > 500_000
    assert client.pttl(f"{SEEN}rate:USD") > 3_000_000
    assert client.pttl("rate:EUR") <= 9_000
    assert 800_000 < client.pttl("history:USD") <= 900_000


@pytest.fixture(scope="module")
def emptied(_redis: RedisServer) -> Callable[[], RedisServer]:
    """Empties the Redis of this session, for each example."""

    def empty() -> RedisServer:
        with _redis.client() as client:
            client.flushall()
        return _redis

    return empty


class _Reference:
    """The meaning of any set of events: of each rate the newest update that is newer than all invalidations."""

    def __init__(self, actions: Sequence[Action]) -> None:
        self.writes = [action for action in actions if isinstance(action, Write)]
        self.drops = [action for action in actions if isinstance(action, Drop)]

    def rate(self, code: str) -> float | None:
        names = {f"rate:{code}", "rate:*", "*"}
        floor = max(
            [each.at_us for each in self.drops if names & {*each.names.exact, *each.names.patterns}], default=-1
        )
        newest = max([each.at_us for each in self.writes if each.code == code], default=-1)
        return newest if newest > floor else None


_ACTIONS = st.one_of(
    st.builds(write, st.integers(0, 9), st.sampled_from(["USD", "EUR"])),
    st.builds(drop, st.integers(0, 9), st.sampled_from(["rate:USD", "exchange_rate:EUR", "rate:*", "*"])),
)


@settings(max_examples=50)
@given(st.lists(_ACTIONS, max_size=8).flatmap(lambda a: st.tuples(st.just(a), st.permutations([*a, *a[:3]]))))
def test_the_order_and_the_number_of_events_do_not_matter(
    emptied: Callable[[], RedisServer], story: tuple[list[Action], list[Action]]
) -> None:
    actions, delivered = story
    server = emptied()
    with server.client() as client:
        applied(server.url, *delivered)
        expected = _Reference(actions)
        assert {code: rate(client, code) for code in ("USD", "EUR")} == {
            code: expected.rate(code) for code in ("USD", "EUR")
        }


def test_a_reader_never_sees_an_older_rate_after_a_newer_one(redis_server: RedisServer, client: Redis) -> None:
    """Four services apply the same updates, each in another order, at the same time."""
    seen: list[float] = []
    over = threading.Event()

    def read() -> None:
        with redis_server.client() as own:
            while not over.is_set():
                if (found := rate(own)) is not None:
                    seen.append(found)

    async def service(step: int) -> None:
        async with cache_of(redis_server.url) as cache:
            for at in range(200):
                await cache.apply(write(at * step % 211))

    async def main() -> None:
        await asyncio.gather(*[service(step) for step in (1, 7, 50, 101)])

    reader = threading.Thread(target=read)
    reader.start()
    asyncio.run(main())
    over.set()
    reader.join()
    assert seen == sorted(seen)
    assert rate(client) == max(at * step % 211 for at in range(200) for step in (1, 7, 50, 101))
