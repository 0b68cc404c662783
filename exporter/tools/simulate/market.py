"""Simulated collectors: the records that they send, and the exact counts of them.

Pure and deterministic: the same seed and feeds make the same records, whatever the steps of time.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

import orjson

from exporter.model import FeedKey, Reason
from exporter.tools.simulate import anomalies, invalid_records, prices


class SimulatedRecord(NamedTuple):
    """A record of a collector, sent at `timestamp_ms` (Unix)."""

    topic: str
    key: bytes
    value: bytes
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class SimulatedFeed:
    """The behaviour of one collector; times count from the start of the simulation.

    A silent feed sends nothing; a frozen one repeats the same rows. The ratios are those of invalid records, of batches
    that declare a wrong `batch_size`, and of batches (of tickers) with an anomaly in a row. Invalid records are of all
    kinds, or of `invalid_kind`. The collector's clock is `clock_ms` ahead, and its data is `age_ms` old. At each time
    of `then` the feed changes to the behaviour beside it, with no more symbols than it has.
    """

    key: FeedKey
    pattern: str = "{}-USDT"
    symbols: int = 20
    batch_messages: tuple[int, int] = (20, 150)
    interval_ms: float = 1000.0
    silent_after_ms: float = math.inf
    frozen_after_ms: float = math.inf
    invalid_ratio: float = 0.0
    invalid_kind: str = ""
    wrong_size_ratio: float = 0.0
    anomaly_ratio: float = 0.0
    clock_ms: int = 0
    age_ms: int = 0
    topic_prefix: str = ""
    then: tuple[tuple[float, SimulatedFeed], ...] = ()

    @property
    def topic(self) -> str:
        """The topic that collectors of this region and request type write to."""
        return f"{self.topic_prefix}{self.key.request_type}-data.{self.key.region}"


FEEDS: tuple[SimulatedFeed, ...] = (
    SimulatedFeed(FeedKey("korea", "upbit", "ticker"), "KRW-{}", symbols=120, interval_ms=400),
    SimulatedFeed(FeedKey("korea", "bithumb", "ticker"), "{}_KRW", symbols=60, invalid_ratio=0.05),
    SimulatedFeed(FeedKey("korea", "upbit", "orderbook"), "KRW-{}", symbols=15, batch_messages=(20, 40)),
    SimulatedFeed(FeedKey("asia", "okx", "trade"), symbols=30, interval_ms=250, wrong_size_ratio=0.05),
    SimulatedFeed(FeedKey("asia", "bitget", "ticker"), "{}USDT", symbols=40, silent_after_ms=15_000),
    SimulatedFeed(FeedKey("europe", "hitbtc", "ticker"), "{}BTC", symbols=25, frozen_after_ms=15_000),
)


@dataclass(slots=True)
class FeedTruth:
    """The exact counts of one feed; the sums are over its batches. Trades are never unchanged."""

    batches: int = 0
    messages: int = 0
    unique_symbols: int = 0
    cache_efficiency: float = 0.0
    wrong_sizes: int = 0
    unchanged: int = 0


@dataclass(slots=True)
class Truth:
    """The exact counts of all sent records; `invalid_records` by topic and reason."""

    feeds: dict[FeedKey, FeedTruth] = field(default_factory=dict)
    invalid_records: Counter[tuple[str, Reason]] = field(default_factory=Counter)


class Simulator:
    """Simulated collectors that start at `start_ms` (Unix); `truth` counts the records yielded so far."""

    def __init__(self, seed: int, feeds: Iterable[SimulatedFeed] = FEEDS, start_ms: int = 0) -> None:
        self.start_ms = start_ms
        self.truth = Truth()
        self._collectors = [_Collector(seed, feed, start_ms, self.truth) for feed in feeds]
        self.topics = sorted({collector.feed.topic for collector in self._collectors})
        self._due = [(collector.next_ms, number) for number, collector in enumerate(self._collectors)]
        heapq.heapify(self._due)

    def records(self, until_ms: float) -> Iterator[SimulatedRecord]:
        """Yield the records sent up to `until_ms` (Unix) that were not yielded before, in the order of time."""
        while self._due and self._due[0][0] <= until_ms:
            due_ms, number = self._due[0]
            collector = self._collectors[number]
            record = collector.send(int(due_ms))
            heapq.heapreplace(self._due, (collector.next_ms, number))
            yield record


class _Collector:
    """A collector of one feed with its own random numbers, so that its records do not depend on other feeds.

    `next_ms` is when its next batch is due, infinite when it stays silent.
    """

    def __init__(self, seed: int, feed: SimulatedFeed, start_ms: int, truth: Truth) -> None:
        self.feed = feed
        self._rng = Random(f"{seed}/{feed.key}")  # noqa: S311 - prices need no secure random numbers
        self._behaviour, self._then = feed, deque(feed.then)
        self._start_ms = start_ms
        self._truth = truth
        self._key = str(feed.key).encode()
        self._instruments = [
            prices.Instrument(symbol, self._rng) for symbol in prices.symbol_names(feed.pattern, feed.symbols)
        ]
        self._row = prices.ROWS[feed.key.request_type]
        self._rows: list[prices.Row] = []
        self._last_rows: list[prices.Row] = []
        self._previous_ms = start_ms
        self.next_ms = 0.0
        self._schedule(feed.interval_ms * self._rng.random())

    def _schedule(self, elapsed_ms: float) -> None:
        """Compute when the next batch is due, and change to the behaviour of that time, which may be silence."""
        while self._then and (self._then[0][0] <= elapsed_ms or elapsed_ms >= self._behaviour.silent_after_ms):
            changed_ms, self._behaviour = self._then.popleft()
            elapsed_ms = max(elapsed_ms, changed_ms)
        self.next_ms = self._start_ms + elapsed_ms if elapsed_ms < self._behaviour.silent_after_ms else math.inf

    def send(self, now_ms: int) -> SimulatedRecord:
        """Return the record that is due, and count it."""
        behaviour, elapsed_ms = self._behaviour, self.next_ms - self._start_ms
        if not self._rows or elapsed_ms < behaviour.frozen_after_ms:
            self._rows = self._fresh_rows(now_ms)
        self._previous_ms = now_ms
        stamp_ms = now_ms + behaviour.clock_ms - behaviour.age_ms
        value = self._invalid(stamp_ms) if self._happens(behaviour.invalid_ratio) else self._batch(stamp_ms)
        self._schedule(elapsed_ms + behaviour.interval_ms * self._rng.uniform(0.8, 1.2))
        return SimulatedRecord(self.feed.topic, self._key, value, stamp_ms)

    def _fresh_rows(self, now_ms: int) -> list[prices.Row]:
        """Return new rows: some instruments more than once, with times since the last batch, in order."""
        behaviour = self._behaviour
        count = self._rng.randint(*behaviour.batch_messages)
        stamps = sorted(self._rng.randint(self._previous_ms, now_ms) - behaviour.age_ms for _ in range(count))
        chosen = self._rng.choices(self._instruments[: behaviour.symbols], k=count)
        for instrument in chosen:
            instrument.move()
        return [self._row(instrument, stamp) for instrument, stamp in zip(chosen, stamps, strict=True)]

    def _batch(self, stamp_ms: int) -> bytes:
        wrong = self._happens(self._behaviour.wrong_size_ratio)
        unique = len({row["target_currency"] for row in self._rows})
        truth = self._truth.feeds.setdefault(self.feed.key, FeedTruth())
        truth.batches += 1
        truth.messages += len(self._rows)
        truth.unique_symbols += unique
        truth.cache_efficiency += 1 / unique if unique else 0.0
        truth.wrong_sizes += int(wrong)
        truth.unchanged += self._rows is self._last_rows and self.feed.key.request_type != "trade"
        self._last_rows = self._rows
        batch = self._declared(stamp_ms, len(self._rows) + int(wrong))
        if self._happens(self._behaviour.anomaly_ratio):
            batch = self._rng.choice(anomalies.KINDS).apply(batch)
        return orjson.dumps(batch)

    def _invalid(self, stamp_ms: int) -> bytes:
        wanted = self._behaviour.invalid_kind
        kind = self._rng.choice([kind for kind in invalid_records.KINDS if wanted in ("", kind.name)])
        self._truth.invalid_records[self.feed.topic, kind.reason] += 1
        return kind.apply(self._declared(stamp_ms, len(self._rows)))

    def _declared(self, stamp_ms: int, batch_size: int) -> dict[str, object]:
        key = self.feed.key
        return {
            "exchange": key.exchange,
            "region": key.region,
            "request_type": key.request_type,
            "timestamp_ms": stamp_ms,
            "batch_size": batch_size,
            "data": self._rows,
        }

    def _happens(self, ratio: float) -> bool:
        return self._rng.random() < ratio
