"""Where nothing is wrong, nothing is said."""

from __future__ import annotations

from collections import Counter
from random import Random

import orjson
import pytest

from exporter.analyzers.freshness import INTERVAL_BOUNDS_MS
from exporter.feeds.states import FeedState
from tests.scenarios.collectors import Collector, Written
from tests.scenarios.world import World
from tests.support.batches import kept
from tests.support.captures import capture, each_capture
from tests.support.recordings import Recorded

HOUR = 3600
GOOD = [FeedState.OK]


@pytest.mark.parametrize("is_random", [False, True])
@pytest.mark.parametrize("period_ms", [50, 1000, 7000, 45_000])
def test_a_quiet_hour_has_only_ok_from_the_first_batch_on(period_ms: int, is_random: bool) -> None:
    collectors = [Collector(f"korea:x{n}:ticker", period_ms, is_random=is_random) for n in range(3)]
    world = World(*collectors)
    world.run(HOUR if period_ms > 50 else HOUR / 10)
    for collector in collectors:
        assert world.states(str(collector.feed)) == GOOD


def test_a_quiet_day_of_a_feed_that_sends_at_random_has_only_ok() -> None:
    world = World(Collector("korea:upbit:trade", 20_000, is_random=True), step_ms=3000)
    world.run(24 * HOUR)
    assert world.states("korea:upbit:trade") == GOOD


def test_a_market_that_calms_down_over_the_evening_is_no_alarm() -> None:
    collector = Collector("korea:upbit:trade", 5_000, is_random=True)
    world = World(collector, step_ms=3000)
    world.run(2 * HOUR)

    def calmer() -> None:
        collector.period_ms = min(25_000, collector.period_ms + 3)

    world.run(8 * HOUR, calmer)
    assert world.states("korea:upbit:trade") == GOOD


@pytest.mark.parametrize(("gap_seconds", "hours"), [(5, 4), (60, 4), (300, 8), (3600, 24)])
def test_who_sends_the_last_trades_again_while_nobody_trades_is_not_frozen(gap_seconds: int, hours: int) -> None:
    """Trades come at random, so long apart on average, and their collector polls every few seconds."""
    feed, random = "korea:upbit:trade", Random(gap_seconds)
    collector = Collector(feed, 5000)
    world = World(collector, step_ms=3000)

    def trade() -> None:
        collector.is_market_moving = random.random() < 3 / gap_seconds

    world.run(hours * HOUR, trade)
    assert world.states(feed) == GOOD


@pytest.mark.parametrize("repeated", [1, 30])
@each_capture
def test_captured_traffic_in_its_own_time_raises_no_alarm(name: str, repeated: int) -> None:
    """`repeated`: over and over, a second apart, so that limits are learned."""
    records = capture(name).records
    first_ms, last_ms = records[0].received_ms, records[-1].received_ms
    world = World(start_ms=first_ms - 1000)
    waiting = [
        (record.topic, shifted(record, turn * (last_ms - first_ms + 1000)))
        for turn in range(repeated)
        for record in records
    ]
    waiting.reverse()
    world.sidecars[0].source.join(*{topic for topic, _ in waiting})

    def play() -> None:
        while waiting and waiting[-1][1].record_ms <= world.now_ms:
            topic, record = waiting.pop()
            world.broker.append(topic, [record])

    world.run((waiting[0][1].record_ms - first_ms) / 1000 + 3, play)
    feeds = world.sidecars[0].feeds
    sent = Counter(record.feed for record in records)
    assert not waiting
    assert {str(feed) for feed in feeds} == set(sent)
    for feed, known in feeds.items():
        assert world.states(str(feed)) == GOOD
        intervals = kept(known.health.freshness.intervals).buckets
        assert sum(intervals) == sent[str(feed)] * repeated - 1
        assert len(intervals) == len(INTERVAL_BOUNDS_MS) + 1


def shifted(record: Recorded, by_ms: int) -> Written:
    """A captured batch so much later, with all that it says of time."""
    value = dict(record.value, timestamp_ms=record.value["timestamp_ms"] + by_ms)
    rows = record.value["data"]
    value["data"] = [{**row, "timestamp": row["timestamp"] + by_ms} if row.get("timestamp") else row for row in rows]
    return Written(record.received_ms + by_ms, orjson.dumps(value))
