"""From records to states: a feed whose records are all rejected is called so by whoever reads them, and by no other."""

from __future__ import annotations

from collections import defaultdict

import pytest

from exporter.config.feed_globs import FeedFilter
from exporter.config.schema import Config, ExpectedFeed, FeedsConfig, Limits, Thresholds
from exporter.decoding.json_decoder import Decoder
from exporter.events.encoding import JsonEncoder
from exporter.events.factory import EventFactory
from exporter.feeds.comparison import NoComparison
from exporter.feeds.evaluator import Evaluator
from exporter.feeds.feed import Feed
from exporter.feeds.health_factory import HealthFactory
from exporter.feeds.partitions import PartitionProgress
from exporter.feeds.states import CALM_MS, GRACE_MS, FeedState, Scope
from exporter.feeds.table import FeedTable
from exporter.kafka.positions import Position, Start
from exporter.model import FeedKey, Partition, Record
from exporter.pipeline import Pipeline
from tests.support.pipeline import FIRST, KEY, NOW_MS, OTHER, SECOND, take, value

LIMIT_MS = 20_000
NAMED, UNNAMED = value()[:-1], b"\x1f\x8b\x08"
ELSEWHERE = Partition("trade-data.asia", 0)


class Reader:
    """A sidecar that expects one feed and reads partitions second by second; `now_ms` goes on as it runs.

    `progress` are partitions that stand or are behind, `is_sole_reader` tells whether a feed could be with another.
    """

    def __init__(self, *partitions: Partition, committed: int = 0) -> None:
        config = Config(
            feeds=FeedsConfig(thresholds=(Thresholds(silent=LIMIT_MS / 1000),), expected=(ExpectedFeed(feed=KEY),))
        )
        table = FeedTable(Limits(), FeedFilter(["*"], []), HealthFactory(config))
        table.expect(KEY)
        self.now_ms = NOW_MS
        self.is_sole_reader = True
        self.progress: dict[Partition, PartitionProgress] = {}
        self.evaluator = Evaluator(NoComparison())
        self.pipeline = Pipeline(
            Decoder(Limits()),
            table,
            EventFactory(JsonEncoder(), "box-1", "events", "errors"),
            batch_events=lambda topic: False,
            summary_period_seconds=60.0,
            live_age_seconds=60.0,
            keep_updates=False,
        )
        self._offsets: dict[Partition, int] = defaultdict(int)
        for partition in partitions:
            self.pipeline.assign(partition, Start(Position(committed, 0, NOW_MS), 0, committed))

    def read(self, content: bytes, partition: Partition = FIRST, record_ms: int | None = None) -> None:
        """Read one record."""
        offset = self._offsets[partition]
        self._offsets[partition] += 1
        stamp = self.now_ms if record_ms is None else record_ms
        take(self.pipeline, Record(partition, offset, stamp, content), now_ms=self.now_ms)

    def run(self, milliseconds: int, *contents: bytes, partition: Partition = FIRST) -> list[FeedState]:
        """Let seconds pass in which these records come; return the states of the expected feed as they came."""
        states: list[FeedState] = []
        for _ in range(0, milliseconds, 1000):
            self.now_ms += 1000
            for content in contents:
                self.read(content, partition)
            self.look()
            if not states or states[-1] is not self.state:
                states.append(self.state)
        return states

    def look(self) -> None:
        """Judge all feeds."""
        self.evaluator.evaluate(
            list(self.pipeline.table.feeds.values()),
            self.progress,
            self.now_ms,
            is_reachable=True,
            is_sole_reader=self.is_sole_reader,
            topics=self.pipeline.traffic(self.now_ms),
        )

    def feed(self, key: FeedKey = KEY) -> Feed:
        """A feed that is known."""
        return self.pipeline.table.feeds[key]

    @property
    def state(self) -> FeedState:
        """The state of the expected feed."""
        return self.feed().health.state

    @property
    def reason(self) -> str:
        """Why it is thought to hold."""
        return "; ".join(self.feed().health.diagnosis.reasons)


# A feed on several topics.


@pytest.mark.parametrize("partition", [FIRST, ELSEWHERE])
def test_a_feed_is_rejected_by_what_comes_on_any_of_its_topics(partition: Partition) -> None:
    reader = Reader(FIRST, ELSEWHERE)
    for _ in range(60):
        reader.run(1000, value(), partition=FIRST)
        reader.run(1000, value(), partition=ELSEWHERE)
    assert reader.state is FeedState.OK
    assert reader.run(LIMIT_MS + 2000, UNNAMED, partition=partition)[-1] is FeedState.REJECTED


@pytest.mark.parametrize("partition", [FIRST, ELSEWHERE])
def test_a_feed_is_alive_while_any_of_its_topics_is(partition: Partition) -> None:
    reader = Reader(FIRST, ELSEWHERE)
    for _ in range(60):
        reader.run(1000, value(), partition=FIRST)
        reader.run(1000, value(), partition=ELSEWHERE)
    assert reader.run(LIMIT_MS + 2000, value(), partition=partition) == [FeedState.OK]


@pytest.mark.parametrize("partition", [FIRST, ELSEWHERE])
def test_a_feed_stands_where_any_of_its_partitions_does(partition: Partition) -> None:
    reader = Reader(FIRST, ELSEWHERE)
    reader.run(60_000, value(), value(), partition=FIRST)
    reader.read(value(), ELSEWHERE)
    reader.progress[partition] = PartitionProgress(reader.now_ms)
    states = reader.run(40_000, value(), partition=ELSEWHERE if partition is FIRST else FIRST)
    assert states[-1] is FeedState.SIDECAR_STALLED


# A feed that never had a valid batch.


def test_an_expected_feed_of_which_nothing_was_ever_valid_is_rejected_once_somebody_has_listened() -> None:
    """Nor does it wait for a limit on silence that is not known yet."""
    reader = Reader(FIRST)
    assert reader.run(GRACE_MS, NAMED) == [FeedState.UNKNOWN]
    assert reader.reason == "the sidecar has just begun to listen"
    assert reader.run(1000, NAMED) == [FeedState.REJECTED]
    example = f"invalid_json, for example {FIRST}/{GRACE_MS // 1000}: "
    assert reader.reason.startswith(f"no valid batch yet, its records are rejected: {example}")
    assert reader.feed().has_state
    assert reader.evaluator.rejected == [KEY]


def test_who_reads_only_some_partitions_tells_it_of_those() -> None:
    """Until the partition goes."""
    reader = Reader(FIRST, SECOND)
    reader.is_sole_reader = False
    assert reader.run(GRACE_MS + 2000, NAMED) == [FeedState.UNKNOWN, FeedState.REJECTED]
    assert reader.feed().has_state
    reader.pipeline.release([FIRST])
    assert not reader.feed().has_state
    assert reader.run(LIMIT_MS) == [FeedState.UNKNOWN]
    assert reader.evaluator.rejected == []


def test_where_a_topic_carries_nothing_valid_an_expected_feed_that_belongs_there_is_rejected() -> None:
    reader = Reader(FIRST, ELSEWHERE)
    assert reader.run(GRACE_MS + 2000, UNNAMED) == [FeedState.UNKNOWN, FeedState.REJECTED]
    assert "records of its topic that name no feed are rejected: invalid_json, for example " in reader.reason


def test_where_a_topic_carries_valid_batches_an_expected_feed_may_never_have_been_started() -> None:
    reader = Reader(FIRST)
    assert reader.run(2 * LIMIT_MS, UNNAMED, value(OTHER)) == [FeedState.UNKNOWN, FeedState.SILENT]


def test_what_is_rejected_on_the_topic_of_another_feed_says_nothing() -> None:
    reader = Reader(FIRST, ELSEWHERE)
    assert reader.run(GRACE_MS + 2000, UNNAMED, partition=ELSEWHERE) == [FeedState.UNKNOWN]
    assert reader.reason == "no batch yet"


def test_who_does_not_read_all_cannot_tell_whose_records_name_no_feed() -> None:
    reader = Reader(FIRST)
    reader.is_sole_reader = False
    reader.run(2 * LIMIT_MS, UNNAMED)
    assert not reader.feed().has_state


@pytest.mark.parametrize("content", [value(OTHER)[:-1], value(OTHER).replace(b'"A"', b"7")])
def test_records_of_another_feed_that_are_rejected_are_not_those_of_the_expected_one(content: bytes) -> None:
    reader = Reader(FIRST)
    assert reader.run(GRACE_MS + 2000, content) == [FeedState.UNKNOWN]
    assert list(reader.pipeline.table.feeds) == [KEY]


def test_the_first_valid_batch_is_believed_at_once() -> None:
    reader = Reader(FIRST)
    reader.run(GRACE_MS + 2000, NAMED)
    assert reader.run(1000, value()) == [FeedState.OK]


def test_a_feed_that_was_only_rejected_and_stops_is_silent() -> None:
    reader = Reader(FIRST)
    reader.run(60_000, NAMED)
    assert reader.run(LIMIT_MS) == [FeedState.REJECTED]
    assert reader.run(1000) == [FeedState.SILENT]


# A feed that was heard.


@pytest.mark.parametrize("content", [NAMED, UNNAMED, b"", value(symbols="\n"), value(KEY._replace(region="a b"))])
def test_a_feed_that_becomes_unreadable_is_rejected_after_its_limit_on_silence(content: bytes) -> None:
    reader = Reader(FIRST)
    reader.run(30_000, value())
    assert reader.run(LIMIT_MS, content) == [FeedState.OK]
    assert reader.run(1000, content) == [FeedState.REJECTED]
    assert reader.run(CALM_MS + 1000, value()) == [FeedState.REJECTED, FeedState.OK]


def test_what_was_rejected_long_ago_does_not_explain_a_silence() -> None:
    reader = Reader(FIRST)
    reader.run(30_000, value())
    for second in range(LIMIT_MS // 1000 + 1):
        reader.run(1000)
        reader.read(NAMED, record_ms=NOW_MS - 86_400_000 + 1000 * second)
        reader.read(UNNAMED, record_ms=NOW_MS - 86_400_000 + 1000 * second)
    assert reader.state is FeedState.SILENT


def test_while_its_partition_is_behind_nothing_is_known() -> None:
    reader = Reader(FIRST)
    reader.progress = {FIRST: PartitionProgress(is_catching_up=True)}
    assert reader.run(2 * LIMIT_MS, NAMED) == [FeedState.UNKNOWN]


def test_who_takes_over_a_partition_knows_the_feed_by_what_was_valid_before() -> None:
    """The tail that is read again ends with rejections; those are counted nowhere."""
    reader = Reader(FIRST, committed=100)
    reader.is_sole_reader = False
    for number in range(100):
        reader.read(value() if number < 20 else NAMED, record_ms=NOW_MS - (101 - number) * 1000)
    assert reader.pipeline.partitions[FIRST].traffic.rejections.total == 0
    assert reader.run(GRACE_MS + 2000, NAMED) == [FeedState.UNKNOWN, FeedState.REJECTED]
    assert reader.feed().partitions == {FIRST}


def test_one_silent_feed_beside_one_that_is_rejected_is_not_a_silent_topic() -> None:
    reader = Reader(FIRST)
    reader.run(30_000, value(), value(OTHER))
    reader.run(LIMIT_MS + 1000, value(OTHER)[:-1])
    assert reader.state is FeedState.SILENT
    assert reader.feed().health.diagnosis.scope is Scope.FEED
    assert reader.feed(OTHER).health.state is FeedState.REJECTED


def test_a_feed_that_another_replica_has_is_ours_again_only_by_its_partition() -> None:
    """A rejected record that names it on a partition of ours is told of, and hides no value of then."""
    reader = Reader(FIRST, SECOND)
    reader.is_sole_reader = False
    reader.run(10_000, value())
    reader.pipeline.release([FIRST])
    reader.run(10_000)
    reader.run(GRACE_MS + 2000, NAMED, partition=SECOND)
    assert reader.state is FeedState.REJECTED
    assert (reader.feed().partitions, reader.feed().rejected_on) == (set(), {SECOND})
