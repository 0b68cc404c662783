"""Limits over all feeds: how many symbols they have together, and which feed makes room for another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from exporter.config.feed_globs import FeedFilter
from exporter.config.schema import Config, ExpectedFeed, FeedsConfig, Limits
from exporter.feeds.comparison import NoComparison
from exporter.feeds.evaluator import Evaluator
from exporter.feeds.feed import ESTABLISHED_BATCHES, ESTABLISHED_SPAN, IDLE_MS, SYMBOL_RETENTION_MS
from exporter.feeds.health_factory import HealthFactory
from exporter.feeds.table import IDLE_SEARCH_MS, RETIRE_EXAMINED, FeedTable
from exporter.model import FeedKey, Reason
from exporter.pipeline import Pipeline
from tests.support.batches import message, observed
from tests.support.pipeline import FIRST, KEY, NOW_MS, SECOND, START, pipeline, record, start, take, value

HOUR_MS = 3_600_000
LATER_MS = NOW_MS + IDLE_MS + 1


def invented(number: int) -> FeedKey:
    """A name that somebody made up."""
    return FeedKey("nowhere", f"exchange{number}", "ticker")


class World:
    """A pipeline of two partitions, and how far each has come."""

    def __init__(self, **limits: Any) -> None:
        self.pipeline: Pipeline = pipeline(limits=Limits(**limits))
        self._offsets = {FIRST: 0, SECOND: 0}
        for partition in self._offsets:
            self.pipeline.assign(partition, start(START, 1_000_000))

    @property
    def table(self) -> FeedTable:
        """Its feeds."""
        return self.pipeline.table

    def send(self, feed: FeedKey, symbols: str = "A", now_ms: int = NOW_MS, content: bytes | None = None) -> None:
        """Let one batch come, on the first partition unless it is of a second exchange."""
        partition = SECOND if feed.exchange.endswith("2") else FIRST
        offset, self._offsets[partition] = self._offsets[partition], self._offsets[partition] + 1
        sent = record(offset, content or value(feed, symbols), partition)
        take(self.pipeline, structs.replace(sent, timestamp_ms=now_ms), now_ms=now_ms)

    def summarize(self, now_ms: int = NOW_MS) -> list[str]:
        """End an interval; the feeds that are told of."""
        dispatch = self.pipeline.summarize([FIRST, SECOND], now_ms)
        return [event.key.decode() for event in dispatch.events if event.key]

    def rejected(self, reason: Reason) -> int:
        """How many records were rejected for it."""
        return sum(topic.rejected[reason] for topic in self.pipeline.topics.values())


# Symbols of all feeds.


def test_all_feeds_together_have_as_many_symbols_as_allowed_and_no_more() -> None:
    world = World(symbols=3)
    world.send(KEY, "AB")
    world.send(invented(1), "C")
    world.send(invented(1), "D")
    world.send(invented(3), "D")
    assert (world.table.symbols, world.rejected(Reason.TOO_MANY_SYMBOLS)) == (3, 2)
    assert list(world.table.feeds) == [KEY, invented(1)]
    for feed, symbols in ((KEY, "BA"), (invented(1), "CC")):
        world.send(feed, symbols)
    assert world.rejected(Reason.TOO_MANY_SYMBOLS) == 2


def test_symbols_of_any_feed_make_room_once_they_were_not_seen_for_an_hour() -> None:
    world = World(symbols=3)
    world.send(KEY, "AB")
    world.send(KEY, "C", NOW_MS + 1)
    world.send(invented(1), "D", NOW_MS + SYMBOL_RETENTION_MS)
    assert invented(1) not in world.table.feeds
    world.send(invented(1), "D", NOW_MS + SYMBOL_RETENTION_MS + 1)
    assert world.table.feeds[KEY].symbol_seen_ms.keys() == {"C"}
    assert (world.table.symbols, world.table.feeds[KEY].batches) == (2, 2)


def test_one_record_has_only_so_many_symbols_looked_at() -> None:
    """With many feeds it does not take long to find out that nothing is old, and with each record comes the next."""
    world = World(symbols=3 * RETIRE_EXAMINED, symbols_per_feed=2 * RETIRE_EXAMINED)
    many = {chr(0x10000 + number) for number in range(RETIRE_EXAMINED)}
    for number in range(3):
        feed = world.table.find(invented(number), NOW_MS)
        assert feed is not None
        world.table.keep(feed)
        feed.remember(observed(*map(message, many)).stats, NOW_MS)
        world.table.symbols += len(many)
    for left in (2, 1):
        world.send(KEY, "AB"[left - 1], NOW_MS + SYMBOL_RETENTION_MS + 1)
        world.table.symbols += RETIRE_EXAMINED  # as if others had come
        assert sum(bool(feed.symbol_seen_ms) for key, feed in world.table.feeds.items() if key != KEY) == left


@given(
    sent=st.lists(
        st.tuples(st.integers(0, 4), st.text("ABCDEF", max_size=4), st.integers(0, 2 * HOUR_MS), st.booleans()),
        max_size=60,
    )
)
def test_the_number_of_symbols_is_that_of_a_recount(sent: list[tuple[int, str, int, bool]]) -> None:
    world, now_ms = World(symbols=5, symbols_per_feed=3, feeds=3), NOW_MS
    for number, symbols, passed_ms, ends in sent:
        now_ms += passed_ms
        world.send(invented(number), symbols, now_ms)
        if ends:
            world.summarize(now_ms)
        recount = [len(feed.symbol_seen_ms) for feed in world.table.feeds.values()]
        assert world.table.symbols == sum(recount) <= 5
        assert len(recount) <= 3


# Feeds that were made up.


def test_a_flood_of_names_makes_room_for_real_feeds_after_a_while() -> None:
    world = World(feeds=100)
    for number in range(1000):
        world.send(invented(number))
    world.summarize()
    world.send(KEY, now_ms=NOW_MS + IDLE_MS)
    assert (KEY in world.table.feeds, world.rejected(Reason.TOO_MANY_FEEDS)) == (False, 901)
    world.send(KEY, now_ms=LATER_MS + IDLE_SEARCH_MS)
    assert KEY in world.table.feeds
    assert (len(world.table.feeds), world.table.forgotten) == (100, 1)


def test_the_feed_that_is_idle_for_the_longest_goes_first() -> None:
    world = World(feeds=3)
    for number, passed_ms in enumerate((3, 1, 2)):
        world.send(invented(number), now_ms=NOW_MS + passed_ms)
    world.summarize()
    for number, left in ((3, {0, 2}), (4, {0}), (5, set[int]())):
        world.send(invented(number), now_ms=LATER_MS + 3)
        assert {each for each in range(3) if invented(each) in world.table.feeds} == left


@pytest.mark.parametrize(
    "batches_at",
    [
        pytest.param([0] * ESTABLISHED_BATCHES, id="many batches"),
        pytest.param([0, 1, HOUR_MS][: ESTABLISHED_SPAN[0]], id="some batches over an hour"),
    ],
)
def test_an_established_feed_is_never_pushed_out(batches_at: list[int]) -> None:
    world = World(feeds=2)
    for passed_ms in batches_at:
        world.send(KEY, now_ms=NOW_MS + passed_ms)
    world.summarize()
    for number in range(200):
        world.send(invented(number), now_ms=NOW_MS + HOUR_MS + number * (IDLE_MS + 1))
        world.summarize()
    assert world.table.feeds[KEY].batches == len(batches_at)
    assert world.table.forgotten > 100


def test_an_expected_feed_is_never_pushed_out_even_if_it_never_came() -> None:
    limits = Limits(feeds=1)
    config = Config(feeds=FeedsConfig(expected=(ExpectedFeed(feed=KEY),)))
    table = FeedTable(limits, FeedFilter(["*"], []), HealthFactory(config))
    table.expect(KEY)
    with pytest.raises(Exception, match="too_many_feeds"):
        table.find(invented(1), NOW_MS)
    assert list(table.feeds) == [KEY]


def test_a_batch_is_in_a_summary_before_its_feed_is_forgotten() -> None:
    world = World(feeds=1)
    world.send(invented(1))
    world.send(KEY, now_ms=LATER_MS)
    assert list(world.table.feeds) == [invented(1)]
    assert world.summarize(LATER_MS) == [str(invented(1))]
    world.send(KEY, now_ms=LATER_MS + IDLE_SEARCH_MS)
    assert list(world.table.feeds) == [KEY]
    assert world.summarize(LATER_MS) == [str(KEY)]


def test_nothing_is_left_of_a_feed_that_is_forgotten() -> None:
    world = World(feeds=1)
    world.send(invented(2), "AB")
    world.send(invented(2), content=value(invented(2), "A\n"))
    rounds, feed = Evaluator(NoComparison()), world.table.feeds[invented(2)]
    rounds._rejected.add(feed)
    world.summarize()
    world.send(KEY, "C", now_ms=LATER_MS)
    rounds.evaluate(list(world.table.feeds.values()), {}, LATER_MS, is_reachable=True, is_sole_reader=True)
    owned = world.pipeline.partitions[SECOND]
    assert (owned.feeds, owned.rejected_feeds, rounds._rejected, world.table.symbols) == ({}, set(), set(), 1)


def test_a_forgotten_feed_that_comes_again_is_a_new_one() -> None:
    world, now_ms = World(feeds=1), NOW_MS
    for feed in (invented(1), KEY, invented(1)):
        world.send(feed, now_ms=now_ms)
        now_ms += IDLE_MS + IDLE_SEARCH_MS
        world.summarize(now_ms)
    assert (list(world.table.feeds), world.table.forgotten) == ([invented(1)], 2)
    assert world.table.feeds[invented(1)].batches == 1
