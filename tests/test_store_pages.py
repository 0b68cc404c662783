"""Pages of symbols, on a real Redis."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import pytest
import redis

from exporter.model import FeedKey
from exporter.store import keyspace, pages
from exporter.store.pages import PageReader
from exporter.store.store import PageCursor, StoreUnavailable, SymbolStatistics
from tests.support.redis import RedisServer

KEYS = keyspace.Keys("pages")
UPBIT, OKX = FeedKey("korea", "upbit", "ticker"), FeedKey("asia", "okx", "ticker")
STAMP_MS = 1_760_031_213_000


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A client as the store has it."""
    with redis.Redis(port=redis_server.port, protocol=2) as client:
        yield client


def reader(client: redis.Redis, seconds: float = 60.0) -> PageReader:
    """A reader with this time limit."""
    return PageReader(client, KEYS, time.monotonic() + seconds)


def keep(client: redis.Redis, partition: str, feed: FeedKey, symbols: Iterable[str], messages: int = 1) -> None:
    """Keep symbols of a feed as the store does, with so many messages of each and a stamp of the same number."""
    names = [keyspace.name(feed, symbol) for symbol in symbols]
    client.hset(KEYS.messages(partition), "", 7)
    client.hset(KEYS.messages(partition), mapping=dict.fromkeys(names, messages))
    client.zadd(KEYS.seen(partition), dict.fromkeys(names, STAMP_MS + messages))
    client.zadd(KEYS.partitions, {partition: STAMP_MS})


def listed(client: redis.Redis, feed: FeedKey | None, limit: int) -> list[SymbolStatistics]:
    """All rows, page by page, in the order in which they come; none has more rows than it may."""
    found: list[SymbolStatistics] = []
    cursor: PageCursor | None = PageCursor()
    while cursor is not None:
        rows, cursor = reader(client).page(feed, cursor, limit)
        assert len(rows) <= limit
        found += rows
    return found


@pytest.mark.parametrize("limit", [1, 7, 1000])
@pytest.mark.parametrize("number", [20, 700])
def test_every_symbol_comes_once_with_the_sums_of_all_partitions(client: redis.Redis, number: int, limit: int) -> None:
    """Few are kept by Redis in another way than many; some lie on one partition, some on two."""
    keep(client, "t/0", UPBIT, [f"S{i}" for i in range(number)], messages=1)
    keep(client, "t/1", UPBIT, [f"S{i}" for i in range(0, number, 2)], messages=20)
    keep(client, "t/2", OKX, [f"S{i}" for i in range(3)], messages=300)
    wanted = [
        SymbolStatistics(UPBIT, f"S{i}", 1 if i % 2 else 21, STAMP_MS + (1 if i % 2 else 20)) for i in range(number)
    ]
    wanted += [SymbolStatistics(OKX, f"S{i}", 300, STAMP_MS + 300) for i in range(3)]
    assert sorted(listed(client, None, limit)) == sorted(wanted)


def test_one_feed_is_found_among_many(client: redis.Redis) -> None:
    """A page may be short, and is not the last for that."""
    keep(client, "t/0", UPBIT, [f"S{i}" for i in range(3000)])
    keep(client, "t/0", OKX, ["A", "B"])
    assert {row.symbol for row in listed(client, OKX, 10)} == {"A", "B"}
    assert len(listed(client, FeedKey("korea", "upbit", "trade"), 10)) == 0


def test_the_cost_of_a_page_is_that_of_its_rows(client: redis.Redis) -> None:
    """Not that of all symbols: Redis is asked for a few steps of a scan."""
    keep(client, "t/0", UPBIT, [f"S{i}" for i in range(20_000)])
    client.config_resetstat()
    rows, cursor = reader(client).page(None, PageCursor(), 100)
    calls = client.info("commandstats")["cmdstat_hscan"]["calls"]
    assert (len(rows), calls) == (100, 1)
    assert cursor is not None


def test_foreign_entries_in_the_keys_are_skipped(client: redis.Redis) -> None:
    """A name that is none, a count that is none, a count without a stamp."""
    keep(client, "t/0", UPBIT, ["A", "B", "C"])
    client.hset(KEYS.messages("t/0"), mapping={b"odd": 1, b"\xff\x00\xff": 2, keyspace.name(UPBIT, "B"): "many"})
    client.zadd(KEYS.seen("t/0"), {b"odd": 1, b"\xff\x00\xff": 1})
    client.zrem(KEYS.seen("t/0"), keyspace.name(UPBIT, "C"))
    assert listed(client, None, 10) == [SymbolStatistics(UPBIT, "A", 1, STAMP_MS + 1)]


def test_paging_continues_when_the_partition_of_the_cursor_is_gone(client: redis.Redis) -> None:
    keep(client, "t/0", UPBIT, [f"S{i}" for i in range(10)])
    keep(client, "t/1", OKX, ["A"])
    _, cursor = reader(client).page(None, PageCursor(), 5)
    assert cursor is not None
    client.zrem(KEYS.partitions, "t/0")
    assert reader(client).page(None, cursor, 5) == ([SymbolStatistics(OKX, "A", 1, STAMP_MS + 1)], None)
    client.zrem(KEYS.partitions, "t/1")
    assert reader(client).page(None, cursor, 5) == ([], None)


def test_symbols_are_looked_up_whatever_partition_has_them(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In as many calls as keep each of them short."""
    monkeypatch.setattr(pages, "LOOKUPS", 4)
    keep(client, "t/0", UPBIT, ["A", "B"], messages=1)
    keep(client, "t/1", UPBIT, ["B", "C"], messages=20)
    names = [keyspace.name(UPBIT, symbol) for symbol in "ABCDE"]
    assert {row.symbol: row.messages for row in reader(client).statistics(names)} == {"A": 1, "B": 21, "C": 20}


def test_a_read_ends_in_time(client: redis.Redis) -> None:
    keep(client, "t/0", UPBIT, ["A"])
    with pytest.raises(StoreUnavailable, match="took too long"):
        reader(client, seconds=-1).page(None, PageCursor(), 5)
