"""A reload counts nothing twice, loses nothing, forgets nothing learned, and changes only states that it is about."""

from __future__ import annotations

import json
from collections import Counter

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.schema import (
    CalendarRule,
    ExpectedFeed,
    FeedsConfig,
    InputConfig,
    Limits,
    SymbolsConfig,
    Thresholds,
)
from exporter.feeds.feed import IDLE_MS, Feed
from exporter.feeds.health import FeedHealth
from exporter.feeds.states import FeedState
from exporter.metrics.feed_metrics import FEED_PARTS, feed_texts
from exporter.model import EventType, FeedKey
from tests.scenarios.collectors import GARBAGE, Collector, Written
from tests.scenarios.world import World

OK, SILENT, UNKNOWN, MAINTENANCE = FeedState.OK, FeedState.SILENT, FeedState.UNKNOWN, FeedState.MAINTENANCE
UPBIT, BITHUMB, NEVER = "korea:upbit:ticker", "korea:bithumb:ticker", "korea:korbit:ticker"
QUARTER, MINUTE = 900, 60


def market(feeds: FeedsConfig = FeedsConfig()) -> World:  # noqa: B008 - frozen
    """Two feeds on one topic that have been in order for a quarter of an hour."""
    world = World(Collector(UPBIT), Collector(BITHUMB, 3000), feeds=feeds)
    world.run(QUARTER)
    return world


def known(world: World, feed: str) -> Feed:
    return world.sidecars[0].feeds[FeedKey(*feed.split(":"))]


def summed(world: World) -> Counter[str]:
    """The batches of each feed by the summaries."""
    found: Counter[str] = Counter()
    for event in world.sidecars[0].channel.events:
        if event.type is EventType.SUMMARY:
            value = json.loads(event.body)
            key = ":".join(value[name] for name in FeedKey._fields)
            found[key] += value["aggregated_stats"]["total_batches"]
    return found


def shown(feed: Feed) -> str:
    return "".join(feed_texts(FEED_PARTS, "feed", feed).blocks)


def limited(world: World, **limits: int) -> InputConfig:
    return msgspec.structs.replace(world.config.input, limits=Limits(**limits))


def buckets(health: FeedHealth) -> list[int]:
    """The intervals of a feed, counted by bucket."""
    assert health.freshness.intervals is not None
    return list(health.freshness.intervals.classic_counts())


def test_what_was_learned_and_the_time_of_a_state_survive_any_number_of_reloads() -> None:
    world = market()
    health = world.health(UPBIT)
    since_ms, limit_ms, intervals = (
        health.state_since_ms,
        health.freshness.silent_limit_ms,
        buckets(health),
    )
    for number in range(20):
        world.reload(feeds=FeedsConfig(exclude=(f"test:{number}",), find_duplicates=bool(number % 2)))
    assert world.health(UPBIT) is health
    assert (health.state_since_ms, health.freshness.silent_limit_ms) == (since_ms, limit_ms)
    assert buckets(health) == intervals
    world.run(QUARTER)
    assert world.states(UPBIT) == world.states(BITHUMB) == [OK]


def test_another_factor_scales_the_learned_limit_and_a_fixed_limit_does_not_forget_it() -> None:
    world = market()
    learned_ms = world.health(BITHUMB).freshness.silent_limit_ms
    for rule, expected_ms in (
        (Thresholds(factor=8.0), 2 * learned_ms),
        (Thresholds(silent=50.0), 50_000),
        (Thresholds(), learned_ms),
        (Thresholds(floor=40.0), 40_000),
        (Thresholds(ceiling=11.0), 11_000),
        (Thresholds(), learned_ms),
    ):
        world.reload(feeds=FeedsConfig(thresholds=(rule,)))
        assert world.health(BITHUMB).freshness.silent_limit_ms == expected_ms
        world.run(4)
    assert world.states(BITHUMB) == [OK]


def test_a_feed_that_is_left_out_keeps_its_counters_loses_its_gauges_and_begins_again_as_unknown() -> None:
    world = market()
    feed, records = known(world, UPBIT), world.sidecars[0].loop.pipeline.topics["ticker-data.korea"]
    batches, state = feed.batches, f'state="{OK}"'
    assert state in shown(feed)
    world.reload(feeds=FeedsConfig(exclude=(UPBIT,)))
    assert summed(world)[UPBIT] == batches
    world.run(MINUTE)
    assert feed.batches == batches
    assert f"marketdata_batches_total{{feed}} {batches}\n" in shown(feed)
    assert 'state="' not in shown(feed)
    assert records.filtered == MINUTE
    assert world.states(BITHUMB) == [OK]

    world.reload(feeds=FeedsConfig())
    back_ms = world.now_ms
    world.run(MINUTE)
    assert known(world, UPBIT) is feed
    assert feed.health.state_since_ms > back_ms
    assert world.states(UPBIT, back_ms) == [UNKNOWN, OK]
    assert feed.batches == batches + MINUTE
    assert records.records == feed.batches + records.filtered + known(world, BITHUMB).batches
    world.run(2 * MINUTE)
    world.reload(feeds=FeedsConfig(include=("nothing:*",)))
    world.sidecars[0].turn()
    assert summed(world) == {UPBIT: feed.batches, BITHUMB: known(world, BITHUMB).batches}


def test_a_feed_that_sends_nothing_valid_is_not_rejected_while_it_is_left_out() -> None:
    upbit = Collector(UPBIT)
    world = World(upbit, Collector(BITHUMB))
    world.run(QUARTER)
    world.reload(feeds=FeedsConfig(exclude=(UPBIT,)))
    upbit.garbage = next(iter(GARBAGE))
    world.run(QUARTER)
    assert not known(world, UPBIT).is_here
    assert known(world, UPBIT).health.state is UNKNOWN


def test_a_feed_that_is_expected_from_now_on_is_silent_after_its_grace_and_goes_with_its_entry() -> None:
    world = market()
    expected = (ExpectedFeed(feed=FeedKey(*NEVER.split(":"))), ExpectedFeed(feed=FeedKey(*UPBIT.split(":"))))
    world.reload(feeds=FeedsConfig(expected=expected, thresholds=(Thresholds(silent=60.0),)))
    begun_ms = world.now_ms
    world.run(5 * MINUTE)
    timeline = world.sidecars[0].timelines[FeedKey(*NEVER.split(":"))]
    assert [diagnosis.state for _, diagnosis in timeline] == [UNKNOWN, SILENT]
    assert timeline[1][0] - begun_ms >= 60_000
    assert world.states(UPBIT) == [OK]
    world.reload(feeds=FeedsConfig())
    assert set(map(str, world.sidecars[0].feeds)) == {UPBIT, BITHUMB}


def test_a_calendar_applies_from_the_next_evaluation_on_and_no_longer_once_it_is_gone() -> None:
    world = market()
    always = CalendarRule(feeds=("korea:upbit:*",), maintenance=("2020-01-01T00:00/2030-01-01T00:00",))
    world.reload(feeds=FeedsConfig(calendar=(always,)))
    world.run(2)
    assert world.health(UPBIT).state is MAINTENANCE
    world.reload(feeds=FeedsConfig())
    world.run(QUARTER)
    assert world.states(UPBIT) == [OK, MAINTENANCE, OK]
    assert world.states(BITHUMB) == [OK]


def test_a_lowered_limit_on_feeds_forgets_those_that_are_idle_and_no_other() -> None:
    brief = [Collector(f"korea:brief{number}:ticker", 10_000) for number in range(4)]
    world = World(Collector(UPBIT), Collector(BITHUMB), *brief)
    world.run(MINUTE)
    for collector in brief:
        collector.is_running = False
    world.run(IDLE_MS / 1000 + MINUTE)
    world.reload(input=limited(world, feeds=3))
    assert len(world.sidecars[0].feeds) == 3
    assert {UPBIT, BITHUMB} < set(map(str, world.sidecars[0].feeds))
    world.reload(input=limited(world, feeds=1))
    assert set(map(str, world.sidecars[0].feeds)) == {UPBIT, BITHUMB}
    assert world.sidecars[0].loop.pipeline.table.forgotten == 4
    world.run(MINUTE)
    assert world.states(UPBIT) == world.states(BITHUMB) == [OK]


def test_a_feed_that_is_left_out_makes_room_at_the_limit_before_any_other() -> None:
    late = Collector("korea:late:ticker")
    late.is_running = False
    world = World(Collector(UPBIT), Collector(BITHUMB), late)
    world.run(QUARTER)
    world.reload(feeds=FeedsConfig(exclude=(UPBIT,)), input=limited(world, feeds=2))
    assert set(map(str, world.sidecars[0].feeds)) == {UPBIT, BITHUMB}
    late.is_running = True
    world.run(MINUTE)
    assert set(map(str, world.sidecars[0].feeds)) == {BITHUMB, str(late.feed)}
    assert world.states(BITHUMB) == world.states(str(late.feed)) == [OK]


def test_symbols_beyond_a_lowered_limit_stay_while_they_are_there() -> None:
    world = market()
    rejected = world.sidecars[0].loop.pipeline.topics["ticker-data.korea"].rejected
    world.reload(input=limited(world, symbols_per_feed=1, symbols=1))
    world.run(MINUTE)
    assert world.states(UPBIT) == [OK]
    assert sum(rejected.values()) == 0


def test_no_counter_of_a_symbol_falls_when_others_are_listed() -> None:
    world = market(FeedsConfig(symbols=SymbolsConfig(shown=("KRW-BTC",))))
    names = sorted(known(world, UPBIT).symbol_messages)
    before: dict[str, int] = {}
    for listed in ((names[0],), (names[0], names[1]), (names[1], names[2]), (), (names[2],), (names[1],)):
        world.reload(feeds=FeedsConfig(symbols=SymbolsConfig(shown=listed, stalest=1)))
        world.run(10)
        symbols = known(world, UPBIT).health.shown_symbols
        assert symbols is not None
        now = {each.symbol: each.messages for each in symbols.symbols} | {"__other__": symbols.other_messages}
        assert now.keys() == {*listed, "__other__"}
        assert sum(now.values()) == known(world, UPBIT).messages
        assert all(now[name] >= before[name] for name in now.keys() & before.keys())
        before = now


def test_a_shorter_interval_of_summaries_holds_from_the_last_one_on() -> None:
    world = market()
    world.run(2 * MINUTE)
    events = world.sidecars[0].channel.events
    world.reload(output=msgspec.structs.replace(world.config.output, summary_interval=10.0))
    before = len(events)
    world.run(MINUTE)
    assert 2 * 6 <= len(events) - before <= 2 * 7
    assert json.loads(events[-1].body)["summary_period_seconds"] == 10


FEEDS = ["korea:a:ticker", "korea:b:ticker", "korea:c:trade"]
TOPICS = ["ticker-data.korea", "trade-data.korea"]
CONFIGURED = st.builds(
    FeedsConfig,
    include=st.sampled_from([("*",), ("*:ticker",), ("korea:a:*", "*:trade"), ("nothing:*",)]),
    exclude=st.sampled_from([(), ("korea:b:*",), ("*:trade",)]),
    find_duplicates=st.booleans(),
    symbols=st.sampled_from([SymbolsConfig(), SymbolsConfig(stalest=1), SymbolsConfig(shown=("KRW-A",))]),
    thresholds=st.sampled_from([(), (Thresholds(silent=5.0),), (Thresholds(factor=2.0),)]),
)
STEPS = st.one_of(st.sampled_from([*FEEDS, *TOPICS]), CONFIGURED, st.integers(1, 70))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_comes_between_reloads_each_record_is_counted_once_and_is_in_one_summary(
    steps: list[str | int | FeedsConfig],
) -> None:
    """A step is a batch of a feed, a partition that goes or returns, a reload, or so many seconds."""
    world = World()
    sidecar, here = world.sidecars[0], set[str]()
    for step in [*TOPICS, *steps]:
        if isinstance(step, FeedsConfig):
            world.reload(feeds=step)
        elif isinstance(step, int):
            world.run(step)
        elif step in TOPICS:
            sidecar.source.leave(step) if step in here else sidecar.source.join(step)
            here ^= {step}
        else:
            world.broker.append(topic_of(step), [batch(step, world.now_ms)])
        world.run(2)
    for topic in set(TOPICS) - here:
        sidecar.source.join(topic)
    world.run(2)
    for topic in TOPICS:
        sidecar.source.leave(topic)
    world.run(2)
    counts = sidecar.loop.pipeline.topics.values()
    batches = Counter({str(key): feed.batches for key, feed in sidecar.feeds.items() if feed.batches})
    assert sum(each.records for each in counts) == sum(each in FEEDS for each in steps)
    assert sum(each.filtered for each in counts) == sum(each.records for each in counts) - batches.total()
    assert summed(world) == batches


def topic_of(feed: str) -> str:
    region, _, request_type = feed.split(":")
    return f"{request_type}-data.{region}"


def batch(feed: str, now_ms: int) -> Written:
    names = dict(zip(FeedKey._fields, feed.split(":"), strict=True))
    rows = [{"target_currency": symbol, "timestamp": now_ms} for symbol in ("KRW-A", "KRW-B")]
    return Written(now_ms, json.dumps({**names, "timestamp_ms": now_ms, "data": rows}).encode())
