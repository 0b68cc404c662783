"""What is told again beside what is new is no anomaly, no latency and no state, and teaches nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import count, groupby, islice
from random import Random

import pytest

from exporter.analyzers.latency import Latency
from exporter.analyzers.message_age import MessageAge
from exporter.feeds.feed import Feed
from exporter.feeds.states import FeedState
from exporter.model import Anomaly, FeedKey
from tests.scenarios.collectors import Written
from tests.scenarios.world import ALL, World
from tests.support.batches import kept

KEY = FeedKey("korea", "upbit", "ticker")
TOPIC = "ticker-data.korea"
NOW_MS = 1_760_343_000_000
DAY_MS = 86_400_000
MINUTES, HOUR = 60, 3600
LIVE_SECONDS = 60
SYMBOLS = [f"S{n}" for n in range(40)]


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
    """One feed that sends every second, and a sidecar that reads it."""

    def __init__(self, period_ms: int = 1000) -> None:
        self.period_ms = period_ms
        self.back_ms = 0  # how far the exchange's clock is behind
        self.market = Market(100.0)
        self.states: list[FeedState] = []  # of each second
        self._world = World(start_ms=NOW_MS, step_ms=1000)
        self._world.sidecars[0].source.join(TOPIC)

    @property
    def now_ms(self) -> int:
        return self._world.now_ms

    @property
    def feed(self) -> Feed:
        return self._world.sidecars[0].feeds[KEY]

    @property
    def anomalies(self) -> dict[Anomaly, int]:
        """Those that were raised."""
        return {kind: times for kind, times in self.feed.anomalies.items() if times}

    @property
    def learned(self) -> object:
        """What live batches have told."""
        health = self.feed.health
        hops = {stage: list(kept(hop.histogram).buckets) for stage, hop in health.analyzers.get(Latency).hops.items()}
        rhythm = (
            list(kept(health.freshness.intervals).buckets),
            health.freshness.silent_limit_ms,
            health.price_activity.limit_ms,
        )
        last = self.feed.last, self.feed.last_message_ms, self.feed.symbol_seen_ms
        return (
            hops,
            list(kept(health.analyzers.get(MessageAge).histogram).buckets),
            rhythm,
            health.quality.prices(),
            health.coverage.expected,
            last,
        )

    def run(self, seconds: int, told: Iterable[Written] = ()) -> None:
        """Let time pass; each second the next of `told` is read, after what the feed sends."""
        others = iter(told)
        for _ in range(seconds):
            self._world.run(1, lambda: self._write(others))
            if KEY in self._world.sidecars[0].feeds:
                self.states.append(self.feed.health.state)

    def pause(self, seconds: int) -> None:
        """Let time pass in which nothing is read."""
        self._world.sidecars[0].source.rate = 0
        self.run(seconds)
        self._world.sidecars[0].source.rate = ALL

    def _write(self, others: Iterator[Written]) -> None:
        now_ms = self.now_ms
        records = [*islice(others, 1)]
        if now_ms % self.period_ms == 0:
            records.insert(0, Written(now_ms, self.market.batch(now_ms - self.back_ms, now_ms)))
        self._world.broker.append(TOPIC, records)


def yesterday(story: Story, price: float, *, rewritten: bool, resent: bool) -> Iterator[Written]:
    """A day ago at another price: as Kafka got it then, or written again now, under its old time or as of now."""
    market = Market(price)
    for second in count():
        then_ms = story.now_ms - DAY_MS + second
        sent_ms = story.now_ms if resent else then_ms
        yield Written(story.now_ms if rewritten else then_ms, market.batch(then_ms, sent_ms))


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
    assert replayed.feed.analyzers.get(Latency).catch_up == 10 * MINUTES
    assert replayed.feed.batches == plain.feed.batches + 10 * MINUTES


def test_what_was_missed_while_nobody_read_is_compared_and_remembered() -> None:
    """It is old, but goes on where the last batch ended: so the first live batch after it is no jump."""
    story = Story()
    story.run(20 * MINUTES)
    story.pause(HOUR)
    story.run(1)
    assert story.feed.analyzers.get(Latency).catch_up == HOUR - LIVE_SECONDS
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
    story.run(MINUTES, (Written(story.now_ms, json.dumps(batch).encode()) for batch in batches))
    assert story.feed.analyzers.get(Latency).catch_up == 0
    assert set(story.anomalies) <= {Anomaly.UNCHANGED_BATCH}
    assert story.feed.health.quality.prices()["QUIET"] == 5.0


def test_what_is_wrong_in_a_replay_by_itself_is_named_all_the_same() -> None:
    story = Story()
    story.run(5 * MINUTES)
    rows = [{"target_currency": "S0", "timestamp": story.now_ms - DAY_MS, "last": -1.0}]
    told = json.dumps({**KEY._asdict(), "timestamp_ms": story.now_ms, "batch_size": 7, "data": rows}).encode()
    story.run(1, [Written(story.now_ms, told)])
    assert story.anomalies == {Anomaly.SIZE_MISMATCH: 1, Anomaly.INVALID_PRICE: 1}
