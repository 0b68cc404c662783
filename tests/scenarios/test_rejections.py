"""A collector whose records are all rejected sends: its feed is `rejected`, and no other feed is called so for it."""

from __future__ import annotations

import pytest

from exporter.feeds.states import CALM_MS, FeedState, Scope
from tests.scenarios.collectors import Collector
from tests.scenarios.test_failures import (
    BITHUMB,
    BOOKS,
    FEEDS,
    HOUR,
    LONG,
    OKX,
    UPBIT,
    assert_cleared,
    assert_named,
    assert_only_ok,
    limit_ms,
    market,
)
from tests.scenarios.world import World

OK, SILENT, REJECTED, UNKNOWN = FeedState.OK, FeedState.SILENT, FeedState.REJECTED, FeedState.UNKNOWN


def collector_of(world: World, feed: str) -> Collector:
    return next(one for one in world.collectors if str(one.feed) == feed)


def break_format(world: World, feed: str, *, names: bool) -> int:
    """Let all be rejected that a collector sends from now on, and return the time."""
    collector = collector_of(world, feed)
    collector.garbage = "no_data" if names else "no_exchange"
    return world.now_ms


@pytest.mark.parametrize("names", [True, False], ids=["feed can be read", "feed cannot be read"])
@pytest.mark.parametrize("feed", FEEDS)
def test_a_collector_that_changes_its_format_is_named_until_it_changes_it_back(feed: str, names: bool) -> None:
    """Alone on its topic, or beside another feed."""
    world = market()
    limit, broke_ms = limit_ms(world, feed), break_format(world, feed, names=names)
    world.run(2 * limit / 1000)
    assert_named(world, feed, REJECTED, broke_ms, limit)
    (reason,) = world.health(feed).diagnosis.reasons
    assert reason.startswith("no valid batch for ")
    assert "missing_field, for example " in reason
    world.run(LONG)
    collector_of(world, feed).garbage, mended_ms = "", world.now_ms
    assert_cleared(world, feed, mended_ms)
    assert limit_ms(world, feed) == pytest.approx(limit, rel=0.5)
    assert_only_ok(world, *(one for one in FEEDS if one != feed))


@pytest.mark.parametrize("names", [True, False])
def test_a_feed_of_which_some_records_are_valid_is_ok(names: bool) -> None:
    world = market()
    broke_ms = break_format(world, UPBIT, names=names)
    collector_of(world, UPBIT).garbage_ratio = 0.25
    world.run(LONG)
    assert world.states(UPBIT, broke_ms) == [OK]
    assert_only_ok(world, BITHUMB, OKX, BOOKS)


def test_another_feed_whose_records_are_all_rejected_does_not_hide_that_a_collector_died() -> None:
    """They name their feed; the topic is not silent, as something comes on it."""
    world = market()
    break_format(world, BITHUMB, names=True)
    died_ms, collector_of(world, UPBIT).is_running = world.now_ms, False
    world.run(120)
    assert world.states(UPBIT, died_ms) == [OK, SILENT]
    assert world.scope(UPBIT) is Scope.FEED
    assert_only_ok(world, OKX, BOOKS)


def test_records_of_another_feed_that_were_always_rejected_in_part_do_not_hide_that_a_collector_died() -> None:
    """They name no feed, and may be of any; the topic is not silent, as the other feed sends."""
    other = Collector(BITHUMB, 100)
    other.garbage, other.garbage_ratio = "no_exchange", 0.3
    world = World(Collector(UPBIT), other)
    world.run(HOUR / 3)
    died_ms, collector_of(world, UPBIT).is_running = world.now_ms, False
    world.run(120)
    assert world.states(UPBIT, died_ms) == [OK, SILENT]
    assert world.scope(UPBIT) is Scope.FEED
    assert_only_ok(world, BITHUMB)


def test_a_second_collector_of_the_feed_that_breaks_too_is_no_silence() -> None:
    """Half of what the feed sent was unreadable for an hour, beside a feed that goes on."""
    world = market()
    break_format(world, UPBIT, names=False)
    collector_of(world, UPBIT).garbage_ratio = 0.5
    world.run(LONG)
    collector_of(world, UPBIT).garbage_ratio, broke_ms = 1.0, world.now_ms
    world.run(120)
    assert world.states(UPBIT, broke_ms) == [OK, REJECTED]


def test_all_feeds_of_a_topic_whose_records_name_none_are_rejected() -> None:
    world = market()
    for feed in (UPBIT, BITHUMB):
        broke_ms = break_format(world, feed, names=False)
    world.run(120)
    for feed in (UPBIT, BITHUMB):
        assert world.states(feed, broke_ms) == [OK, REJECTED]
    assert_only_ok(world, OKX, BOOKS)


def test_a_collector_that_sends_nothing_more_is_silent_whatever_it_sent_before() -> None:
    world = market()
    broke_ms = break_format(world, UPBIT, names=True)
    world.run(600)
    collector_of(world, UPBIT).is_running, died_ms = False, world.now_ms
    world.run(2 * limit_ms(world, UPBIT) / 1000)
    assert world.states(UPBIT, broke_ms) == [OK, REJECTED, SILENT]
    assert world.entered_ms(UPBIT, SILENT) - died_ms <= 2 * limit_ms(world, UPBIT)


def test_a_collector_that_comes_back_with_another_format_is_no_more_silent_after_a_calm() -> None:
    world = market()
    collector_of(world, UPBIT).is_running = False
    world.run(120)
    collector_of(world, UPBIT).is_running, came_ms = True, break_format(world, UPBIT, names=True)
    world.run(CALM_MS / 1000 + 5)
    assert world.states(UPBIT, came_ms) == [SILENT, REJECTED]


@pytest.mark.parametrize("names", [True, False])
def test_a_partition_that_moves_takes_the_state_along(names: bool) -> None:
    """The new owner knows the feed from the tail, and has just begun to listen."""
    world = market()
    break_format(world, UPBIT, names=names)
    world.run(300)
    first, moved_ms = world.sidecars[0], world.now_ms
    topic = collector_of(world, UPBIT).topic
    first.source.leave(topic)
    world.add_sidecar(topic)
    world.run(300)
    assert world.states(UPBIT, moved_ms) == [UNKNOWN, REJECTED]
    assert world.entered_ms(UPBIT, REJECTED) - moved_ms <= 30_000
    assert_only_ok(world, BITHUMB, since_ms=moved_ms + 5_000)
    assert_only_ok(world, OKX, BOOKS)


@pytest.mark.parametrize("names", [True, False])
def test_what_was_rejected_long_ago_is_no_news(names: bool) -> None:
    """Somebody sends yesterday's records again, which cannot be read, while the feed is silent."""
    world = market()
    collector = collector_of(world, OKX)
    break_format(world, OKX, names=names)
    old = collector.replay([world.now_ms - 86_400_000 + 1000 * second for second in range(600)])
    collector.garbage = ""
    died_ms, collector.is_running = world.now_ms, False
    waiting = iter(old)
    world.run(120, lambda: world.broker.append(collector.topic, [next(waiting)]))
    assert world.states(OKX, died_ms) == [OK, SILENT]


@pytest.mark.parametrize("names", [True, False])
def test_while_the_broker_is_away_nothing_is_known_of_what_was_rejected(names: bool) -> None:
    """It is still rejected when the broker is back."""
    world = market()
    broke_ms = break_format(world, UPBIT, names=names)
    world.run(120)
    world.broker.is_up = False
    world.run(HOUR / 2)
    world.broker.is_up = True
    world.run(HOUR / 2)
    states = world.states(UPBIT, broke_ms)
    assert (states[:3], states[-1]) == ([OK, REJECTED, UNKNOWN], REJECTED)
    assert SILENT not in states
