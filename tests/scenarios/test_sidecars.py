"""What a sidecar is configured for, which partitions it has, and how far it has read them reaches each feed."""

from __future__ import annotations

import json
from collections import Counter

from exporter.config.schema import ExpectedFeed, FeedsConfig
from exporter.feeds.states import FeedState
from exporter.model import EventType, FeedKey
from tests.scenarios.collectors import Collector
from tests.scenarios.test_failures import (
    BITHUMB,
    BOOKS,
    FEEDS,
    HOUR,
    OK,
    OKX,
    SILENT,
    STALLED,
    UNKNOWN,
    UPBIT,
    assert_only_ok,
    market,
)
from tests.scenarios.test_rejections import break_format, collector_of
from tests.scenarios.world import ALL, World

MISSING = FeedKey("korea", "korbit", "ticker")
KRW = r"(?P<quote>KRW)-(?P<base>\w+)"


def summarized(world: World) -> Counter[str]:
    """How many batches of each exchange the summaries of all sidecars report."""
    totals: Counter[str] = Counter()
    for sidecar in world.sidecars:
        for event in sidecar.channel.events:
            if event.type is EventType.SUMMARY:
                summary = json.loads(event.body)
                totals[summary["exchange"]] += summary["aggregated_stats"]["total_batches"]
    return totals


# Configuration.


def test_an_expected_feed_that_never_sends_is_silent_where_all_partitions_are_read() -> None:
    world = market(FeedsConfig(expected=(ExpectedFeed(feed=MISSING),)))
    world.run(HOUR)
    assert world.sidecars[0].feeds[MISSING].health.state is SILENT


def test_an_expected_feed_may_be_on_a_partition_of_another_sidecar() -> None:
    world = market(FeedsConfig(expected=(ExpectedFeed(feed=MISSING),)))
    world.sidecars[0].source.leave(collector_of(world, OKX).topic)
    world.run(HOUR)
    assert world.sidecars[0].feeds[MISSING].health.state is UNKNOWN


def test_an_expected_feed_that_sends_only_invalid_records_is_rejected() -> None:
    world = World(Collector(UPBIT), feeds=FeedsConfig(expected=(ExpectedFeed(feed=FeedKey(*UPBIT.split(":"))),)))
    break_format(world, UPBIT, names=True)
    world.run(60)
    assert world.sidecars[0].feeds[FeedKey(*UPBIT.split(":"))].health.state is FeedState.REJECTED


def test_an_expected_feed_whose_invalid_records_ended_here_may_be_elsewhere() -> None:
    feed = FeedKey(*UPBIT.split(":"))
    world = World(Collector(UPBIT), Collector(OKX), feeds=FeedsConfig(expected=(ExpectedFeed(feed=feed),)))
    break_format(world, UPBIT, names=True)
    world.sidecars[0].source.leave(collector_of(world, OKX).topic)
    world.run(60)
    collector_of(world, UPBIT).is_running = False
    world.run(3 * HOUR)
    assert world.sidecars[0].feeds[feed].health.state is UNKNOWN


def test_feeds_that_are_excluded_are_not_known() -> None:
    world = World(Collector(UPBIT), Collector(OKX), feeds=FeedsConfig(exclude=("asia:*",)))
    world.run(60)
    assert [str(feed) for feed in world.sidecars[0].feeds] == [UPBIT]


def test_prices_of_feeds_that_are_ok_are_compared_where_pairs_are_configured() -> None:
    world = market(FeedsConfig(pairs=(KRW,)))
    assert {feed: world.health(feed).divergence is not None for feed in FEEDS} == {
        UPBIT: True,
        BITHUMB: True,
        OKX: True,
        BOOKS: False,  # no prices
    }
    collector_of(world, OKX).is_running = False
    world.run(60)
    assert world.health(OKX).divergence is None


# Partitions.


def test_a_partition_that_is_stuck_is_no_state_of_feeds_on_others() -> None:
    world = market()
    world.sidecars[0].source.stuck.add(collector_of(world, UPBIT).topic)
    stuck_ms = world.now_ms
    world.run(120)
    for feed in (UPBIT, BITHUMB):
        assert world.states(feed, stuck_ms) == [OK, STALLED]
    assert_only_ok(world, OKX, BOOKS)


def test_a_feed_that_went_to_another_sidecar_has_a_state_there_alone() -> None:
    world = market()
    topic, key = collector_of(world, UPBIT).topic, FeedKey(*UPBIT.split(":"))
    world.sidecars[0].source.leave(topic)
    world.add_sidecar(topic)
    world.run(120)
    assert [sidecar.feeds[key].has_state for sidecar in world.sidecars] == [False, True]
    assert world.sidecars[0].feeds[key].health.state is UNKNOWN


def test_a_partition_that_moves_to_and_fro_is_summarized_and_counted_once() -> None:
    world = market()
    topic = collector_of(world, UPBIT).topic
    other = world.add_sidecar()
    for leaving, joining in ((world.sidecars[0], other), (other, world.sidecars[0])):
        world.run(130)
        leaving.source.leave(topic)
        joining.source.join(topic)
    world.run(130)
    world.sidecars[0].source.leave(topic)
    sent = len(world.broker.logs[topic])
    assert summarized(world)["upbit"] + summarized(world)["bithumb"] == sent
    counts = [sidecar.loop.pipeline.topics[topic] for sidecar in world.sidecars]
    assert sum(count.records for count in counts) == sent


def test_prices_that_moved_while_another_sidecar_read_them_are_not_frozen() -> None:
    world = market()
    first, topic = world.sidecars[0], collector_of(world, UPBIT).topic
    first.source.leave(topic)
    other = world.add_sidecar(topic)
    world.run(600)
    other.source.leave(topic)
    first.source.join(topic)
    back_ms, collector_of(world, UPBIT).is_running = world.now_ms, False
    world.run(6)
    assert FeedState.FROZEN not in world.states(UPBIT, back_ms)


def test_a_successor_of_a_sidecar_that_died_takes_its_time_to_catch_up() -> None:
    """It reads what came within half an hour, from where its predecessor came to; until then it is not ready."""
    world = market()
    topics = list(world.broker.logs)
    world.sidecars.clear()
    world.run(HOUR / 2)
    successor = world.add_sidecar(*topics)
    successor.source.rate = 20
    world.run(60)
    assert not successor.status.ready().ok
    world.run(HOUR)
    for feed in FEEDS:
        assert set(world.states(feed)) <= {UNKNOWN, OK}
        assert world.states(feed)[-1] is OK
    assert successor.status.ready().ok


def test_a_feed_whose_records_wait_behind_those_of_another_is_not_silent() -> None:
    """All of them are younger than the live age; the successor reads half as fast again as they come."""
    world = market()
    upbit, bithumb = collector_of(world, UPBIT), collector_of(world, BITHUMB)
    topics = list(world.broker.logs)
    world.sidecars.clear()
    upbit.is_running, bithumb.period_ms = False, 20
    world.run(40)
    upbit.is_running = True
    world.add_sidecar(*topics).source.rate = 150
    world.run(240)
    assert set(world.states(UPBIT)) == {UNKNOWN, OK}


# Reading.


def test_the_marker_behind_the_last_record_of_a_transaction_is_no_stall() -> None:
    world = market()
    world.broker.is_transactional = True
    world.run(10)
    died_ms, collector_of(world, OKX).is_running = world.now_ms, False
    world.run(120)
    assert world.states(OKX, died_ms) == [OK, SILENT]
    assert_only_ok(world, UPBIT, BITHUMB, BOOKS)


def test_a_sidecar_that_did_not_run_for_a_while_listens_before_it_calls_a_feed_silent() -> None:
    world = market()
    stopped_ms = world.now_ms
    world.clock.sleep(120)
    world.sidecars[0].source.rate = 0  # the first fetch is on its way
    world.run(4)
    world.sidecars[0].source.rate = ALL
    world.run(120)
    for feed in (UPBIT, OKX):
        assert world.states(feed, stopped_ms) == [OK, UNKNOWN, OK]
    for feed in (BITHUMB, BOOKS):
        assert SILENT not in world.states(feed, stopped_ms)


def test_records_that_a_predecessor_published_are_no_news() -> None:
    """A sidecar that takes over reads them again, to know the feed, whose collector has died since."""
    world = market()
    topic, key, died_ms = collector_of(world, OKX).topic, FeedKey(*OKX.split(":")), world.now_ms
    collector_of(world, OKX).is_running = False
    world.run(6)
    world.sidecars[0].source.leave(topic)
    known = world.add_sidecar(topic).feeds
    world.run(4)
    assert known[key].batches == 0
    assert known[key].health.freshness.last_sent_ms <= died_ms
    assert known[key].last_received_ms <= died_ms


def test_much_that_is_rejected_is_a_warning_of_a_sidecar_that_is_ready() -> None:
    world = market()
    break_format(world, UPBIT, names=True)
    world.run(120)
    assert EventType.ERROR in {event.type for event in world.sidecars[0].channel.events}
    status = world.sidecars[0].status.ready()
    assert status.ok
    topic, feeds = status.warnings
    assert "% of the records of ticker-data.korea are rejected: missing_field" in topic
    assert feeds == f"all records of these feeds are rejected: {UPBIT}"
