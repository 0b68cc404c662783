"""Records that are replayed give the states, the counts and the limits that a sidecar found while they were written."""

from __future__ import annotations

from heapq import merge

import pytest

from exporter.config.schema import ExpectedFeed, FeedsConfig, Thresholds
from exporter.feeds.states import FeedState
from exporter.model import FeedKey
from exporter.tools.replay.analysis import Analysis, in_parts
from tests.scenarios.collectors import Collector
from tests.scenarios.world import World

UPBIT, BITHUMB, OKX, BOOKS, GONE = (
    "korea:upbit:ticker",
    "korea:bithumb:ticker",
    "asia:okx:ticker",
    "asia:okx:orderbook",
    "europe:gone:ticker",
)
STEP_MS = 500
# A batch is read up to a step after it was written, and each of both evaluates once a second.
APART_MS = 3 * STEP_MS + 1000


@pytest.fixture(scope="module")
def world() -> World:
    """Collectors that fail in turn and recover, and one that never comes."""
    expected = tuple(ExpectedFeed(feed=FeedKey(*name.split(":"))) for name in (UPBIT, GONE))
    collectors = [Collector(UPBIT), Collector(BITHUMB, 2000), Collector(OKX, 1000), Collector(BOOKS, 5000)]
    rules = (Thresholds(feeds=(GONE,), silent=600.0),)
    world = World(*collectors, feeds=FeedsConfig(expected=expected, thresholds=rules), step_ms=STEP_MS)
    upbit, bithumb, okx, _ = collectors
    world.run(900)
    upbit.is_running = okx.is_market_moving = False
    world.run(600)
    bithumb.garbage = "no_data"
    world.run(600)
    upbit.is_running = okx.is_market_moving = True
    world.run(300)
    bithumb.garbage = ""
    upbit.symbols = 2
    world.run(600)
    return world


@pytest.fixture(scope="module")
def replayed(world: World) -> Analysis:
    """The analysis of what the collectors wrote."""
    analysis = Analysis(world.config)
    logs = [[record for record in log if record is not None] for log in world.broker.logs.values()]
    analysis.begin(1_760_000_400_000, {log[0].partition: 0 for log in logs})
    records = merge(*logs, key=lambda record: record.timestamp_ms)
    for part in in_parts((record.timestamp_ms, record) for record in records):
        analysis.read(part)
    analysis.end(world.now_ms)
    return analysis


@pytest.mark.parametrize("feed", [UPBIT, BITHUMB, OKX, BOOKS, GONE])
def test_a_feed_has_the_states_that_it_had(world: World, replayed: Analysis, feed: str) -> None:
    key = FeedKey(*feed.split(":"))
    live, again = world.sidecars[0].feeds[key].health.tracker.transitions, replayed.timelines[key]
    assert [each.diagnosis[::2] for each in again] == [each.diagnosis[::2] for each in live]
    assert [each.since_ms for each in again] == pytest.approx([each.since_ms for each in live], abs=APART_MS)


def test_the_states_are_those_of_the_failures(replayed: Analysis) -> None:
    found = {feed: {each.diagnosis.state for each in timeline} for feed, timeline in replayed.timelines.items()}
    assert FeedState.SILENT in found[FeedKey(*UPBIT.split(":"))]
    assert FeedState.REJECTED in found[FeedKey(*BITHUMB.split(":"))]
    assert FeedState.SILENT in found[FeedKey(*GONE.split(":"))]


def test_the_counts_are_those_of_the_sidecar(world: World, replayed: Analysis) -> None:
    live = world.sidecars[0].loop.pipeline
    for key, feed in live.table.feeds.items():
        again = replayed.feeds[key]
        assert (again.batches, again.messages, again.anomalies) == (feed.batches, feed.messages, feed.anomalies)
        assert again.symbol_messages == feed.symbol_messages
    for topic, counts in live.topics.items():
        again_counts = replayed.pipeline.topics[topic]
        assert (again_counts.records, again_counts.rejected) == (counts.records, counts.rejected)
