"""Each failure is named rightly within twice its threshold, without another name meanwhile, and cleared afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from exporter.analyzers.thresholds import NEW_RHYTHM_MS
from exporter.config.schema import CalendarRule, FeedsConfig, Thresholds
from exporter.feeds.health import STALE_SYMBOL_MS
from exporter.feeds.states import CALM_MS, PATIENCE_MS, STALLED_MS, FeedState, Scope
from exporter.model import Partition
from exporter.pipeline import OLD_AGES
from tests.scenarios.collectors import Collector
from tests.scenarios.world import ALL, START_MS, World

OK, DELAYED, SILENT, FROZEN, PARTIAL, UNKNOWN = (
    FeedState.OK, FeedState.DELAYED, FeedState.SILENT, FeedState.FROZEN, FeedState.PARTIAL, FeedState.UNKNOWN
)  # fmt: skip
STALLED, MAINTENANCE = FeedState.SIDECAR_STALLED, FeedState.MAINTENANCE
UPBIT, BITHUMB, OKX, BOOKS = "korea:upbit:ticker", "korea:bithumb:ticker", "asia:okx:ticker", "asia:okx:orderbook"
FEEDS = (UPBIT, BITHUMB, OKX, BOOKS)
HOUR = 3600
LONG = 2400  # a rhythm of so long would be learned, were it not an outage
BERLIN = ZoneInfo("Europe/Berlin")


def market(feeds: FeedsConfig = FeedsConfig()) -> World:  # noqa: B008 - frozen
    """Four feeds on three topics, different in rhythm, that have been in order for 12 minutes."""
    world = World(
        Collector(UPBIT),
        Collector(BITHUMB, 2000, is_random=True),
        Collector(OKX, 500),
        Collector(BOOKS, 5000),
        feeds=feeds,
    )
    world.run(HOUR / 5)
    assert_only_ok(world, *FEEDS)
    return world


def assert_only_ok(world: World, *feeds: str, since_ms: int = START_MS + 10_000) -> None:
    for feed in feeds:
        assert world.states(feed, since_ms) == [OK], feed


def limit_ms(world: World, feed: str) -> int:
    return world.health(feed).freshness.silent_limit_ms


def assert_named(world: World, feed: str, state: FeedState, since_ms: int, limit_ms: int) -> None:
    """The state came within twice its threshold, and no other did."""
    assert world.states(feed, since_ms) == [OK, state]
    assert limit_ms / 2 <= world.entered_ms(feed, state) - since_ms <= 2 * limit_ms


def assert_cleared(world: World, feed: str, since_ms: int, within_ms: int = CALM_MS + 15_000) -> None:
    world.run(within_ms / 1000)
    assert world.states(feed, since_ms)[1:] == [OK]
    world.run(300)
    assert world.states(feed, since_ms)[1:] == [OK]


# Silence.


@pytest.mark.parametrize("feed", FEEDS)
def test_a_collector_that_dies_leaves_its_feed_silent(feed: str) -> None:
    world = market()
    collector = next(one for one in world.collectors if str(one.feed) == feed)
    others = [one for one in FEEDS if one != feed]
    limit, died_ms = limit_ms(world, feed), world.now_ms
    collector.is_running = False
    world.run(2 * limit / 1000)
    assert_named(world, feed, SILENT, died_ms, limit)
    assert world.scope(feed) is Scope.FEED
    world.run(LONG)
    collector.is_running, recovered_ms = True, world.now_ms
    assert_cleared(world, feed, recovered_ms)
    assert limit_ms(world, feed) == pytest.approx(limit, rel=0.5)
    assert_only_ok(world, *others)


def test_all_feeds_of_one_topic_are_told_from_one_feed() -> None:
    world = market()
    for collector in world.collectors[:2]:
        collector.is_running = False
    died_ms = world.now_ms
    world.run(120)
    for feed in (UPBIT, BITHUMB):
        assert world.states(feed, died_ms) == [OK, SILENT]
        assert world.scope(feed) is Scope.TOPIC
    assert_only_ok(world, OKX, BOOKS)


def test_nothing_from_anywhere_is_told_from_one_topic() -> None:
    world = market()
    for collector in world.collectors:
        collector.is_running = False
    died_ms = world.now_ms
    world.run(120)
    for feed in FEEDS:
        assert world.states(feed, died_ms) == [OK, SILENT]
        assert world.scope(feed) is Scope.ALL


def test_a_partition_that_grows_without_us_is_our_own_fault() -> None:
    world = market()
    world.sidecars[0].source.rate, stuck_ms = 0, world.now_ms
    world.run(2 * STALLED_MS / 1000)
    for feed in FEEDS:
        assert world.states(feed, stuck_ms) == [OK, STALLED]
    world.run(LONG)
    world.sidecars[0].source.rate, resumed_ms = ALL, world.now_ms
    world.run(CALM_MS / 1000 + 5)
    for feed in FEEDS:
        assert world.states(feed, resumed_ms) == [STALLED, OK]


def test_a_sidecar_that_catches_up_slowly_does_not_blame_the_collectors() -> None:
    world = market()
    source = world.sidecars[0].source
    source.rate = 0
    world.run(LONG)
    source.rate, resumed_ms = 20, world.now_ms
    world.run(LONG)
    for feed in FEEDS:
        states = world.states(feed, resumed_ms)
        assert states[0] is STALLED
        assert set(states) <= {STALLED, UNKNOWN, OK}
        assert states[-1] is OK


def test_a_backlog_that_stays_full_stalls_the_sidecar() -> None:
    """Reading pauses once events are too many, or too old, and nothing is known of what comes meanwhile."""
    world = market()
    channel, paused_ms = world.sidecars[0].channel, world.now_ms + 120_000
    channel.is_stuck = True
    world.run(LONG)
    for feed in FEEDS:
        assert world.states(feed, paused_ms) == [OK, STALLED]
    channel.is_stuck, resumed_ms = False, world.now_ms
    world.run(CALM_MS / 1000 + 10)
    for feed in FEEDS:
        assert world.states(feed, resumed_ms) == [STALLED, OK]


def test_while_the_broker_is_away_nothing_is_known_of_collectors() -> None:
    world = market()
    world.broker.is_up, gone_ms = False, world.now_ms
    world.run(LONG)
    for feed in FEEDS:
        assert world.states(feed, gone_ms) == [OK, UNKNOWN]
    world.broker.is_up, back_ms = True, world.now_ms
    world.run(LONG)
    for feed in FEEDS:
        assert world.states(feed, back_ms) == [UNKNOWN, OK]


def test_a_collector_that_died_while_the_broker_was_away_is_found() -> None:
    world = market()
    world.broker.is_up = False
    world.run(300)
    world.collectors[0].is_running = False
    world.run(300)
    world.broker.is_up, back_ms = True, world.now_ms
    world.run(60)
    assert world.states(UPBIT, back_ms)[-1] is SILENT
    assert world.states(OKX, back_ms) == [UNKNOWN, OK]


def test_a_partition_that_moves_raises_no_alarm_and_hides_none() -> None:
    world = market()
    world.collectors[1].is_running = False
    world.run(300)
    first, moved_ms = world.sidecars[0], world.now_ms
    topic = world.collectors[0].topic
    first.source.leave(topic)
    world.add_sidecar(topic)
    world.run(300)
    assert_only_ok(world, UPBIT, since_ms=moved_ms + 5_000)
    assert world.states(BITHUMB, moved_ms) == [UNKNOWN, SILENT]
    assert world.entered_ms(BITHUMB, SILENT) - moved_ms <= 30_000
    assert_only_ok(world, OKX, BOOKS)


# What is sent.


def test_an_exchange_that_freezes_is_told_from_a_collector_that_died() -> None:
    world = market()
    limit, froze_ms = world.health(UPBIT).price_activity.limit_ms, world.now_ms
    assert limit is not None
    world.collectors[0].is_market_moving = False
    world.run(2 * limit / 1000)
    assert_named(world, UPBIT, FROZEN, froze_ms, limit)
    world.run(LONG)
    world.collectors[0].is_market_moving, recovered_ms = True, world.now_ms
    assert_cleared(world, UPBIT, recovered_ms)
    assert_only_ok(world, BITHUMB, OKX, BOOKS)


def test_half_the_symbols_are_missed() -> None:
    world = market()
    world.collectors[0].symbols //= 2
    vanished_ms = world.now_ms
    world.run((STALE_SYMBOL_MS + PATIENCE_MS) / 1000 + 5)
    assert world.states(UPBIT, vanished_ms) == [OK, PARTIAL]
    world.run(LONG)
    world.collectors[0].symbols *= 2
    assert_cleared(world, UPBIT, world.now_ms)
    assert_only_ok(world, BITHUMB, OKX, BOOKS)


@pytest.mark.parametrize("jump_ms", [90_000, -90_000])
def test_a_clock_that_jumps_is_no_state_of_the_feed_when_the_broker_stamps_records(jump_ms: int) -> None:
    world = market()
    for collector in world.collectors:
        collector.stamps_records = False
    world.collectors[0].clock_ms = jump_ms
    world.run(HOUR / 4)
    world.collectors[0].clock_ms = 0
    world.run(HOUR / 4)
    assert_only_ok(world, *FEEDS)


@pytest.mark.parametrize("jump_ms", [90_000, -90_000])
def test_a_clock_that_jumps_is_no_state_of_the_feed_when_it_stamps_records(jump_ms: int) -> None:
    """At the end of a partition a stamp that is a little old rather shows that a clock is wrong."""
    world = market()
    world.collectors[0].clock_ms = jump_ms
    world.run(HOUR / 4)
    world.collectors[0].clock_ms = 0
    world.run(HOUR / 4)
    assert_only_ok(world, *FEEDS)


def test_records_with_stamps_far_beyond_the_live_age_are_late_but_not_silence() -> None:
    world = market()
    world.collectors[0].clock_ms, jumped_ms = -OLD_AGES * 60_000 - 1, world.now_ms
    world.run(LONG)
    assert world.states(UPBIT, jumped_ms) == [OK, DELAYED]
    world.collectors[0].clock_ms = 0
    assert_cleared(world, UPBIT, world.now_ms)
    assert_only_ok(world, BITHUMB, OKX, BOOKS)


def test_a_replay_of_yesterday_changes_nothing() -> None:
    world = market()
    collector = world.collectors[0]
    yesterday = [world.now_ms - 86_400_000 + 1000 * second for second in range(HOUR)]
    replayed = iter(collector.replay(yesterday))
    limit = limit_ms(world, UPBIT)
    world.run(
        600,
        lambda: world.broker.append(collector.topic, [record for record, _ in zip(replayed, range(6), strict=False)]),
    )
    assert_only_ok(world, *FEEDS)
    assert limit_ms(world, UPBIT) == limit


def test_reading_all_again_changes_nothing() -> None:
    world = market()
    topic = world.collectors[0].topic
    world.sidecars[0].source.positions[Partition(topic, 0)] = 0
    world.run(600)
    assert_only_ok(world, *FEEDS)
    batches = sum(feed.batches for feed in world.sidecars[0].feeds.values() if Partition(topic, 0) in feed.partitions)
    assert batches == len(world.broker.logs[topic])


# Rhythm.


def test_a_burst_neither_alarms_nor_shortens_what_a_slow_feed_may_take() -> None:
    slow = Collector("korea:slow:ticker", 600_000)
    world = World(slow, step_ms=3000)
    world.run(12 * HOUR)
    limit = limit_ms(world, "korea:slow:ticker")
    slow.period_ms = 100
    world.run(700)
    slow.period_ms = 600_000
    world.run(12 * HOUR)
    assert_only_ok(world, "korea:slow:ticker", since_ms=START_MS + 700_000)
    assert limit_ms(world, "korea:slow:ticker") == limit


def test_a_feed_of_one_batch_in_ten_minutes_is_watched_like_any_other() -> None:
    feed = "korea:slow:ticker"
    slow = Collector(feed, 600_000)
    world = World(slow, step_ms=3000)
    world.run(12 * HOUR)
    assert_only_ok(world, feed, since_ms=START_MS + 700_000)
    limit, died_ms = limit_ms(world, feed), world.now_ms
    assert limit == 2_400_000
    slow.is_running = False
    world.run(2 * limit / 1000)
    assert_named(world, feed, SILENT, died_ms, limit)
    slow.is_running = True
    assert_cleared(world, feed, world.now_ms, within_ms=600_000 + CALM_MS + 5_000)
    assert limit_ms(world, feed) == limit


def test_slow_degradation_is_a_delay() -> None:
    world = market()
    upbit, began_ms = world.collectors[0], world.now_ms

    def slower() -> None:
        upbit.period_ms += 10

    world.run(HOUR, slower)
    assert world.states(UPBIT, began_ms) == [OK, DELAYED]
    assert world.entered_ms(UPBIT, DELAYED) - began_ms <= 2 * HOUR * 1000 / 6
    upbit.period_ms = 1000
    assert_cleared(world, UPBIT, world.now_ms, within_ms=CALM_MS + 60_000)
    assert_only_ok(world, BITHUMB, OKX, BOOKS)


def test_a_lasting_new_rhythm_is_learned_within_the_documented_time() -> None:
    world = market()
    books, changed_ms = world.collectors[3], world.now_ms
    books.period_ms = 45_000
    world.run(NEW_RHYTHM_MS / 1000 + CALM_MS / 1000 + 300)
    assert world.states(BOOKS, changed_ms) == [OK, SILENT, DELAYED, OK]
    assert limit_ms(world, BOOKS) == 180_000
    world.run(LONG)
    assert world.states(BOOKS, changed_ms) == [OK, SILENT, DELAYED, OK]


def test_a_feed_that_flaps_does_not_flap_its_state() -> None:
    world = market()
    upbit, began_ms, random = world.collectors[0], world.now_ms, Random(7)
    limit = limit_ms(world, UPBIT)
    for _ in range(60):
        upbit.is_running = False
        world.run(random.randint(15, 90))
        upbit.is_running = True
        world.run(random.randint(5, 50))
    assert world.states(UPBIT, began_ms) == [OK, SILENT]
    assert_cleared(world, UPBIT, world.now_ms)
    assert limit_ms(world, UPBIT) == limit


def test_thresholds_of_the_configuration_are_kept_exactly() -> None:
    world = market(
        FeedsConfig(thresholds=(Thresholds(feeds=("korea:upbit:*",), silent=120.0, frozen=300.0, coverage=0.4),))
    )
    upbit = world.collectors[0]
    upbit.symbols, upbit.is_market_moving, began_ms = upbit.symbols // 2, False, world.now_ms
    world.run(400)
    assert world.states(UPBIT, began_ms) == [OK, FROZEN]
    assert 300_000 <= world.entered_ms(UPBIT, FROZEN) - began_ms <= 302_000
    upbit.is_market_moving = True
    assert_cleared(world, UPBIT, world.now_ms)
    upbit.is_running, died_ms = False, world.now_ms
    world.run(200)
    assert world.states(UPBIT, died_ms) == [OK, SILENT]
    assert 119_000 <= world.entered_ms(UPBIT, SILENT) - died_ms <= 122_000


# The calendar.


@pytest.mark.parametrize("date", ["2025-10-23", "2025-10-26", "2026-03-29"])
def test_a_market_that_closes_is_in_maintenance_on_the_minute_with_daylight_saving_too(date: str) -> None:
    """On the last two dates, clocks in Berlin change while the market is closed."""
    hours = CalendarRule(feeds=("europe:*",), timezone="Europe/Berlin", open=("09:00-17:30",))
    feed = "europe:xetra:ticker"
    noon = datetime.fromisoformat(f"{date}T12:00").replace(tzinfo=BERLIN)
    start_ms, end_ms = (round(time.timestamp() * 1000) for time in (noon - timedelta(days=1), noon))
    collector = Collector(feed, 10_000)
    world = World(collector, feeds=FeedsConfig(calendar=(hours,)), start_ms=start_ms, step_ms=3000)

    def trade() -> None:
        collector.is_running = "09:00" <= berlin_clock(world.now_ms) < "17:30"

    world.run((end_ms - start_ms) / 1000, trade)
    assert world.states(feed, start_ms + 10_000) == [OK, MAINTENANCE, OK]
    closed, opened = world.timeline(feed)[-2:]
    assert (berlin_clock(closed[0]), berlin_clock(opened[0])) == ("17:30", "09:00")


def berlin_clock(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, BERLIN).strftime("%H:%M")


def test_a_feed_that_does_not_come_back_after_its_maintenance_is_silent() -> None:
    window = CalendarRule(feeds=(UPBIT,), maintenance=("2025-10-09T09:30/2025-10-09T10:00",))
    world = market(FeedsConfig(calendar=(window,)))
    world.run(HOUR / 3)
    world.collectors[0].is_running = False
    ended_ms = START_MS + HOUR * 1000
    world.run(LONG)
    assert world.states(UPBIT, START_MS + 10_000) == [OK, MAINTENANCE, OK, SILENT]
    assert world.entered_ms(UPBIT, SILENT) - ended_ms <= 2 * limit_ms(world, UPBIT)
