"""What the web shows of a sidecar that has read some batches."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config.schema import Config, ExpectedFeed, FeedsConfig, RedisConfig
from exporter.feeds.health import MISSING_SYMBOL_MS, STALE_SYMBOL_MS, HealthContext
from exporter.feeds.symbols import CONFIRMATIONS, SymbolStatus
from exporter.metrics.feed_metrics import FEED_PARTS, feed_texts
from exporter.model import FeedKey
from exporter.store import redis_store
from exporter.store.store import StoreUnavailable
from exporter.web.interface import CursorError, Row
from exporter.web.queries import SidecarQueries
from tests.support.pipeline import FIRST, KEY, NOW_MS
from tests.support.process import free_port
from tests.support.redis import RedisServer
from tests.support.unrun import UnrunSidecar
from tests.support.waiting import eventually

EXPECTED = FeedsConfig(expected=(ExpectedFeed(feed=KEY, symbols=("A", "B", "C", "NEVER")),))


class Sidecar(UnrunSidecar):
    """One that does not run, as rows and metrics show it."""

    def __init__(self, feeds: FeedsConfig, redis: RedisConfig = RedisConfig()) -> None:  # noqa: B008 - frozen
        super().__init__(Config(feeds=feeds, redis=redis))

    def run(self, symbols: str, for_ms: int) -> None:
        """Read such a batch every second."""
        for _ in range(0, for_ms, 1000):
            self.read(symbols, 1000)

    def statuses(self) -> dict[str, object]:
        """The status of each symbol, as the rows tell."""
        return {str(row["symbol"]): row.get("status") for row in self.app.queries.symbols(KEY, "", 100).rows}

    def listed(self, feed: FeedKey | None, limit: int) -> list[Row]:
        """All rows, page by page; none has more than it may, and each but the last has some."""
        rows, after = self.app.queries.symbols(feed, "", limit)
        while after:
            assert len(rows) > 0
            page, after = self.app.queries.symbols(feed, after, limit)
            assert len(page) <= limit
            rows += page
        return rows

    def counted(self) -> Iterator[tuple[SymbolStatus, int]]:
        """How many symbols have each status, as the metrics tell."""
        lines = "".join(feed_texts(FEED_PARTS, "F", self.feed).blocks).splitlines()
        for status in SymbolStatus:
            series = f'marketdata_feed_symbols{{F,status="{status}"}} '
            yield status, next(int(line.removeprefix(series)) for line in lines if line.startswith(series))


@pytest.fixture
def sidecar() -> Sidecar:
    """One that expects four symbols, of which one never came, and that has read for more than the missing take."""
    sidecar = Sidecar(EXPECTED)
    sidecar.read("ABCX")
    sidecar.run("AB", MISSING_SYMBOL_MS)
    sidecar.run("A", STALE_SYMBOL_MS)
    return sidecar


def test_each_symbol_has_a_status_the_missing_among_them(sidecar: Sidecar) -> None:
    """B stopped a minute ago, C six minutes ago; X is not on the list."""
    active, stale, missing, unexpected = SymbolStatus
    expected = {"A": active, "B": stale, "C": missing, "NEVER": missing, "X": unexpected}
    assert sidecar.statuses() == expected
    (never,) = (row for row in sidecar.app.queries.symbols(None, "", 100).rows if row["symbol"] == "NEVER")
    assert never == {**KEY._asdict(), "symbol": "NEVER", "messages": 0, "status": missing}


def test_rows_and_metrics_tell_the_same(sidecar: Sidecar) -> None:
    statuses = list(sidecar.statuses().values())
    assert {status: statuses.count(status) for status in SymbolStatus} == dict(sidecar.counted())


def test_a_silent_feed_misses_no_symbols(sidecar: Sidecar) -> None:
    before = sidecar.statuses()
    sidecar.now_ms += 86_400_000
    sidecar.feed.health.evaluate(sidecar.feed.symbol_seen_ms, HealthContext(), sidecar.now_ms)
    assert sidecar.statuses() == before


def test_without_a_list_symbols_that_are_there_for_long_are_missed() -> None:
    sidecar = Sidecar(FeedsConfig())
    sidecar.run("AB", CONFIRMATIONS * STALE_SYMBOL_MS + 1000)
    sidecar.run("AN", 1000)
    sidecar.run("A", MISSING_SYMBOL_MS)
    active, stale, missing, _ = SymbolStatus
    assert sidecar.statuses() == {"A": active, "B": missing, "N": stale}


def test_a_status_that_is_not_known_is_absent(sidecar: Sidecar) -> None:
    """While it is too early to call a symbol missing, and once the feed is somebody else's."""
    early = Sidecar(EXPECTED)
    early.run("A", MISSING_SYMBOL_MS)
    assert early.statuses() == {"A": None}
    sidecar.feed.release(FIRST)
    assert set(sidecar.statuses().values()) == {None}


def test_symbols_of_all_replicas_have_a_status_by_when_any_saw_them(redis_server: RedisServer) -> None:
    """Here B stopped long ago, but another replica has just read it."""
    sidecar = Sidecar(EXPECTED, RedisConfig(url=redis_server.url, prefix="views"))
    store, other = sidecar.app.store, FeedKey("asia", "okx", "ticker")
    store.start()
    try:
        sidecar.read("AB")
        sidecar.run("A", 2 * MISSING_SYMBOL_MS)
        store.add(KEY, sidecar.now_ms, ["A", "B"])
        store.add(other, sidecar.now_ms, ["A"])
        eventually(lambda: len(sidecar.app.queries.symbols(None, "", 100).rows) == 5, 10)
        found = {
            (row["exchange"], row["symbol"]): row.get("status")
            for row in sidecar.app.queries.symbols(None, "", 100).rows
        }
    finally:
        store.stop(5)
    wanted: Mapping[tuple[str, str], object] = {
        ("okx", "A"): None,
        ("upbit", "A"): SymbolStatus.ACTIVE,
        ("upbit", "B"): SymbolStatus.ACTIVE,
        ("upbit", "C"): SymbolStatus.MISSING,
        ("upbit", "NEVER"): SymbolStatus.MISSING,
    }
    assert found == wanted


def error_of(queries: SidecarQueries) -> str:
    """Why there are no symbols."""
    with pytest.raises(StoreUnavailable) as refused:
        queries.symbols(None, "", 10)
    return str(refused.value)


@pytest.mark.parametrize("trouble", ["dead", "circuit open"])
def test_symbols_are_unavailable_while_redis_is(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "PAUSE_SECONDS", 0.0)
    app = Sidecar(FeedsConfig(), RedisConfig(url=f"redis://127.0.0.1:{free_port()}")).app
    queries, store = app.queries, app.store
    if trouble == "circuit open":
        store.add(KEY, NOW_MS, ["A"])
        store.start()
        eventually(lambda: "paused after repeated failures" in error_of(queries))
    assert re.match(r"(paused after repeated failures: )?Error 111 connecting to 127.0.0.1", error_of(queries))
    with pytest.raises(StoreUnavailable, match=re.escape(error_of(queries))):
        queries.distinct(KEY)
    store.stop(0.0)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("feed", [None, KEY])
def test_pages_of_symbols_are_together_what_one_page_is(sidecar: Sidecar, feed: FeedKey | None, limit: int) -> None:
    """In order, with those that never came; an expected feed that was not heard has none."""
    rows = sidecar.listed(feed, limit)
    assert rows == sidecar.app.queries.symbols(feed, "", 100).rows
    assert [row["symbol"] for row in rows] == ["A", "B", "C", "NEVER", "X"]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_of_all_replicas_are_together_what_one_page_is(redis_server: RedisServer, limit: int) -> None:
    """Each row once; those of symbols that no replica has seen come last."""
    sidecar = Sidecar(EXPECTED, RedisConfig(url=redis_server.url, prefix="views"))
    store = sidecar.app.store
    store.start()
    try:
        sidecar.read("AB")
        sidecar.run("A", 2 * MISSING_SYMBOL_MS)
        store.add(KEY, sidecar.now_ms, ["A", "B"])
        eventually(lambda: len(sidecar.app.queries.symbols(None, "", 100).rows) == 4, 10)
        rows = sidecar.listed(KEY, limit)
    finally:
        store.stop(5)
    assert sorted(str(row["symbol"]) for row in rows[:2]) == ["A", "B"]
    assert [(row["symbol"], row.get("status")) for row in rows[2:]] == [
        ("C", SymbolStatus.MISSING),
        ("NEVER", SymbolStatus.MISSING),
    ]


UNHEARD = Sidecar(EXPECTED)


@given(st.text() | st.binary().map(lambda raw: urlsafe_b64encode(raw).decode()))
@example(urlsafe_b64encode(b'["t/0",1,"\xc4\x80",null,""]').decode())
@example(urlsafe_b64encode(b'["t/0",-1,"",["a","b","c"],""]').decode())
def test_what_is_no_end_of_a_page_is_said_to_be_none(after: str) -> None:
    """Whatever a client makes up."""
    with suppress(CursorError):
        UNHEARD.app.queries.symbols(None, after, 10)


def test_rows_of_feeds_are_made_while_they_are_read(sidecar: Sidecar) -> None:
    """How many there are is known before, as the page needs it."""
    rows = sidecar.app.queries.feeds()
    assert len(rows) == 1
    sidecar.read("A")
    assert [row["batches"] for row in rows] == [sidecar.feed.batches]
