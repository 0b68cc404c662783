"""What is told again beside what is new is no anomaly, no latency and no state, and teaches nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import count, groupby
from random import Random
from typing import NamedTuple

import pytest

from exporter.analyzers.latency import Latency
from exporter.analyzers.message_age import MessageAge
from exporter.feeds.comparison import NoComparison
from exporter.feeds.evaluator import Evaluator
from exporter.feeds.feed import Feed
from exporter.feeds.states import FeedState
from exporter.model import Anomaly, Record
from tests.support.analysis import FIRST, KEY, NOW_MS, START, analysis, start, take

DAY_MS = 86_400_000
MINUTES = 60
SYMBOLS = [f"S{n}" for n in range(40)]


class Told(NamedTuple):
    """A batch as its collector wrote it, and when Kafka got it."""

    record_ms: int
    value: bytes


class Market:
    """Prices that move at random by a thousandth; a batch has half of the symbols."""

    def __init__(self, price: float) -> None:
        self._random = Random(str(price))
        self.prices = dict.fromkeys(SYMBOLS, price)

    def batch(self, now_ms: int, sent_ms: int) -> bytes:
        """What is traded now, in a batch that says that it was sent then."""
        rows = [
            {"target_currency": symbol, "timestamp": now_ms - 50 - n, "last": self._moved(symbol)}
            for n, symbol in enumerate(self._random.sample(SYMBOLS, len(SYMBOLS) // 2))
        ]
        return json.dumps({**KEY._asdict(), "timestamp_ms": sent_ms, "data": rows}).encode()

    def _moved(self, symbol: str) -> float:
        self.prices[symbol] *= 1 + self._random.uniform(-0.001, 0.001)
        return self.prices[symbol]


class Story:
    """One feed that sends every second, and a sidecar that reads it and judges it once a second."""

    def __init__(self, period_ms: int = 1000) -> None:
        self.now_ms = NOW_MS
        self.period_ms = period_ms
        self.back_ms = 0  # how far the exchange's clock is behind
        self.market = Market(100.0)
        self.states: list[FeedState] = []
        self._analysis = analysis()
        self._analysis.assign(FIRST, start(START, 0))
        self.partition = self._analysis.partitions[FIRST]
        self.partition.is_behind = False
        self._offsets = count()
        self._evaluator = Evaluator(NoComparison())

    @property
    def feed(self) -> Feed:
        return self._analysis.table.feeds[KEY]

    @property
    def anomalies(self) -> dict[Anomaly, int]:
        """Those that were raised."""
        return {kind: times for kind, times in self.feed.anomalies.items() if times}

    @property
    def learned(self) -> object:
        """What live batches have told."""
        health = self.feed.health
        hops = {stage: list(hop.buckets) for stage, hop in health.analyzer(Latency).hops.items()}
        rhythm = (
            list(health.freshness.intervals.buckets),
            health.freshness.silent_limit_ms,
            health.price_activity.limit_ms,
        )
        last = self.feed.last, self.feed.last_message_ms, self.feed.symbol_seen_ms
        return (
            hops,
            list(health.analyzer(MessageAge).buckets),
            rhythm,
            health.quality.prices(),
            health.coverage.expected,
            last,
        )

    def run(self, seconds: int, told: Iterable[Told] = ()) -> None:
        """Let time pass; each second the next of `told` is read, after what the feed sends."""
        others = iter(told)
        for _ in range(seconds):
            self.now_ms += 1000
            if self.now_ms % self.period_ms == 0:
                self.read(Told(self.now_ms, self.market.batch(self.now_ms - self.back_ms, self.now_ms)))
            for one, _ in zip(others, range(1), strict=False):
                self.read(one)
            feeds = list(self._analysis.table.feeds.values())
            self._evaluator.evaluate(feeds, {}, self.now_ms, is_reachable=True, is_sole_reader=True)
            self.states += [feed.health.state for feed in feeds]

    def read(self, told: Told) -> None:
        """Read a record, 20 ms after the second began."""
        take(self._analysis, Record(FIRST, next(self._offsets), told.record_ms, told.value), now_ms=self.now_ms + 20)


def yesterday(story: Story, price: float, *, rewritten: bool, resent: bool) -> Iterator[Told]:
    """A day ago at another price: as Kafka got it then, or written again now, under its old time or as of now."""
    market = Market(price)
    for second in count():
        then_ms = story.now_ms - DAY_MS + second
        sent_ms = story.now_ms if resent else then_ms
        yield Told(story.now_ms if rewritten else then_ms, market.batch(then_ms, sent_ms))


REPLAYS = [
    pytest.param(False, False, id="records of yesterday"),
    pytest.param(True, False, id="batches of yesterday, written now"),
    pytest.param(True, True, id="messages of yesterday, in batches of now"),
]


@pytest.mark.parametrize("period_ms", [1000, 90_000])
@pytest.mark.parametrize(("rewritten", "resent"), REPLAYS)
def test_a_replay_beside_what_is_new_changes_nothing(rewritten: bool, resent: bool, period_ms: int) -> None:
    """The prices of yesterday were 30 % lower: neither they nor those of now are jumps."""
    replayed, plain = Story(period_ms), Story(period_ms)
    for story in (replayed, plain):
        story.run(20 * MINUTES)
    told = yesterday(replayed, 70.0, rewritten=rewritten, resent=resent)
    replayed.run(10 * MINUTES, told)
    plain.run(10 * MINUTES)
    for story in (replayed, plain):
        story.run(10 * MINUTES)
        assert story.anomalies == {}
        assert set(story.states[MINUTES:]) == {FeedState.OK}
    assert replayed.learned == plain.learned
    assert replayed.feed.health.analyzer(Latency).catch_up == 10 * MINUTES
    assert replayed.feed.batches == plain.feed.batches + 10 * MINUTES


def test_what_was_missed_while_nobody_read_is_compared_and_remembered() -> None:
    """It is old, but goes on where the last batch ended: so the first live batch after it is no jump."""
    story = Story()
    story.run(20 * MINUTES)
    story.now_ms += 3600_000
    story.partition.is_behind = True
    missed_ms = range(story.now_ms - 3599_000, story.now_ms - 60_000, 1000)
    for then_ms in missed_ms:
        story.read(Told(then_ms, story.market.batch(then_ms, then_ms)))
    assert story.feed.health.analyzer(Latency).catch_up == len(missed_ms)
    assert story.feed.health.quality.prices() == story.market.prices
    story.run(MINUTES)
    assert story.anomalies == {}


@pytest.mark.parametrize("back_ms", [30_000, 3600_000])
def test_a_clock_of_the_exchange_that_jumps_back_is_named_once(back_ms: int) -> None:
    """For each of the symbols. Where it may be a replay, it is a delay first, and believed after a minute alone."""
    story = Story()
    story.run(20 * MINUTES)
    story.back_ms = back_ms
    story.run(10)
    assert bool(story.anomalies) == (back_ms < 60_000)
    story.run(10 * MINUTES)
    named = story.anomalies
    assert set(named) == {Anomaly.MESSAGE_TIME_BACKWARDS}
    assert 1 <= named[Anomaly.MESSAGE_TIME_BACKWARDS] <= MINUTES
    story.run(10 * MINUTES)
    assert story.anomalies == named
    states = [state for state, _ in groupby(story.states[MINUTES:])]
    assert states == [FeedState.OK, FeedState.DELAYED, FeedState.OK] if back_ms > 60_000 else [FeedState.OK]
    assert story.states.count(FeedState.DELAYED) <= 3 * MINUTES


def test_a_symbol_that_is_merely_quiet_is_no_replay() -> None:
    """Its last trade was an hour ago, and each batch that has nothing else says so."""
    story = Story()
    story.run(5 * MINUTES)
    quiet = {"target_currency": "QUIET", "timestamp": story.now_ms - 3600_000, "last": 5.0}
    batches = ({**KEY._asdict(), "timestamp_ms": story.now_ms, "data": [quiet]} for _ in count())
    story.run(MINUTES, (Told(story.now_ms, json.dumps(batch).encode()) for batch in batches))
    assert story.feed.health.analyzer(Latency).catch_up == 0
    assert set(story.anomalies) <= {Anomaly.UNCHANGED_BATCH}
    assert story.feed.health.quality.prices()["QUIET"] == 5.0


def test_what_is_wrong_in_a_replay_by_itself_is_named_all_the_same() -> None:
    story = Story()
    story.run(5 * MINUTES)
    rows = [{"target_currency": "S0", "timestamp": story.now_ms - DAY_MS, "last": -1.0}]
    told = json.dumps({**KEY._asdict(), "timestamp_ms": story.now_ms, "batch_size": 7, "data": rows}).encode()
    story.run(1, [Told(story.now_ms, told)])
    assert story.anomalies == {Anomaly.SIZE_MISMATCH: 1, Anomaly.INVALID_PRICE: 1}
