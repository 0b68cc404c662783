"""Simulated collectors: what they would send to Kafka, record by record, and the truth about it.

Pure and deterministic: the same seed and feeds make the same records, whatever steps the time is asked for in.
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
    """One record as a collector sends it; `timestamp_ms` (Unix) is when."""

    topic: str
    key: bytes
    value: bytes
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Feed:
    """One collector and how it behaves; the times after which it changes count from the start of the simulation.

    A silent feed sends nothing any more; a frozen one sends the same rows again and again. The ratios say how many of
    its records are garbage, how many declare a `batch_size` that is not the number of their rows, and how many (of
    tickers) have something odd in a row. Garbage is of any kind, or of the one that `garbage_kind` names. Its clock is
    `clock_ms` ahead, and all that it sends is `age_ms` old. At each time of `then` it goes over to the behaviour
    beside it, with no more symbols than it has.
    """

    key: FeedKey
    pattern: str = "{}-USDT"
    symbols: int = 20
    batch_messages: tuple[int, int] = (20, 150)
    interval_ms: float = 1000.0
    silent_after_ms: float = math.inf
    frozen_after_ms: float = math.inf
    garbage_ratio: float = 0.0
    garbage_kind: str = ""
    wrong_size_ratio: float = 0.0
    odd_ratio: float = 0.0
    clock_ms: int = 0
    age_ms: int = 0
    topic_prefix: str = ""
    then: tuple[tuple[float, Feed], ...] = ()

    @property
    def topic(self) -> str:
        """The topic that collectors of this region and request type write to."""
        return f"{self.topic_prefix}{self.key.request_type}-data.{self.key.region}"


FEEDS: tuple[Feed, ...] = (
    Feed(FeedKey("korea", "upbit", "ticker"), "KRW-{}", symbols=120, interval_ms=400),
    Feed(FeedKey("korea", "bithumb", "ticker"), "{}_KRW", symbols=60, garbage_ratio=0.05),
    Feed(FeedKey("korea", "upbit", "orderbook"), "KRW-{}", symbols=15, batch_messages=(20, 40)),
    Feed(FeedKey("asia", "okx", "trade"), symbols=30, interval_ms=250, wrong_size_ratio=0.05),
    Feed(FeedKey("asia", "bitget", "ticker"), "{}USDT", symbols=40, silent_after_ms=15_000),
    Feed(FeedKey("europe", "hitbtc", "ticker"), "{}BTC", symbols=25, frozen_after_ms=15_000),
)


@dataclass(slots=True)
class FeedTruth:
    """What an exact reader counts of one feed; the sums run over its batches. Trades are never unchanged."""

    batches: int = 0
    messages: int = 0
    unique_symbols: int = 0
    cache_efficiency: float = 0.0
    wrong_sizes: int = 0
    unchanged: int = 0


@dataclass(slots=True)
class Truth:
    """What an exact reader counts of all that the collectors sent; `garbage` by topic and reason."""

    feeds: dict[FeedKey, FeedTruth] = field(default_factory=dict)
    invalid_records: Counter[tuple[str, Reason]] = field(default_factory=Counter)


class Simulator:
    """Simulated collectors that start at `start_ms` (Unix); `truth` covers the records handed out so far."""

    def __init__(self, seed: int, feeds: Iterable[Feed] = FEEDS, start_ms: int = 0) -> None:
        self.start_ms = start_ms
        self.truth = Truth()
        self._collectors = [_Collector(seed, feed, start_ms, self.truth) for feed in feeds]
        self.topics = sorted({collector.feed.topic for collector in self._collectors})
        self._due = [(collector.next_ms, number) for number, collector in enumerate(self._collectors)]
        heapq.heapify(self._due)

    def records(self, until_ms: float) -> Iterator[SimulatedRecord]:
        """Yield what is sent up to `until_ms` (Unix) and was not handed out yet, in the order of time."""
        while self._due and self._due[0][0] <= until_ms:
            due_ms, number = self._due[0]
            collector = self._collectors[number]
            record = collector.send(int(due_ms))
            heapq.heapreplace(self._due, (collector.next_ms, number))
            yield record


class _Collector:
    """One feed with a randomness of its own, so that the other feeds do not change what it sends.

    `next_ms` is when its next batch is due; never, when it is silent for good.
    """

    def __init__(self, seed: int, feed: Feed, start_ms: int, truth: Truth) -> None:
        self.feed = feed
        self._rng = Random(f"{seed}/{feed.key}")  # noqa: S311 - made-up prices keep no secret
        self._habits, self._then = feed, deque(feed.then)
        self._start_ms = start_ms
        self._truth = truth
        self._key = str(feed.key).encode()
        self._instruments = [
            prices.Instrument(symbol, self._rng) for symbol in prices.symbol_names(feed.pattern, feed.symbols)
        ]
        self._row = prices.ROWS[feed.key.request_type]
        self._rows: list[prices.Row] = []
        self._told_rows: list[prices.Row] = []
        self._previous_ms = start_ms
        self.next_ms = 0.0
        self._schedule(feed.interval_ms * self._rng.random())

    def _schedule(self, elapsed_ms: float) -> None:
        """Learn when the next batch would be due, and take on the habits of then; they may be to be silent."""
        while self._then and (self._then[0][0] <= elapsed_ms or elapsed_ms >= self._habits.silent_after_ms):
            changed_ms, self._habits = self._then.popleft()
            elapsed_ms = max(elapsed_ms, changed_ms)
        self.next_ms = self._start_ms + elapsed_ms if elapsed_ms < self._habits.silent_after_ms else math.inf

    def send(self, now_ms: int) -> SimulatedRecord:
        """Make the record that is due and count it in the truth."""
        habits, elapsed_ms = self._habits, self.next_ms - self._start_ms
        if not self._rows or elapsed_ms < habits.frozen_after_ms:
            self._rows = self._fresh_rows(now_ms)
        self._previous_ms = now_ms
        told_ms = now_ms + habits.clock_ms - habits.age_ms
        value = self._garbage(told_ms) if self._happens(habits.garbage_ratio) else self._batch(told_ms)
        self._schedule(elapsed_ms + habits.interval_ms * self._rng.uniform(0.8, 1.2))
        return SimulatedRecord(self.feed.topic, self._key, value, told_ms)

    def _fresh_rows(self, now_ms: int) -> list[prices.Row]:
        """Read the exchange: some instruments more than once, stamped since the last batch, in the order of time."""
        habits = self._habits
        count = self._rng.randint(*habits.batch_messages)
        stamps = sorted(self._rng.randint(self._previous_ms, now_ms) - habits.age_ms for _ in range(count))
        chosen = self._rng.choices(self._instruments[: habits.symbols], k=count)
        for instrument in chosen:
            instrument.move()
        return [self._row(instrument, stamp) for instrument, stamp in zip(chosen, stamps, strict=True)]

    def _batch(self, told_ms: int) -> bytes:
        wrong = self._happens(self._habits.wrong_size_ratio)
        unique = len({row["target_currency"] for row in self._rows})
        truth = self._truth.feeds.setdefault(self.feed.key, FeedTruth())
        truth.batches += 1
        truth.messages += len(self._rows)
        truth.unique_symbols += unique
        truth.cache_efficiency += 1 / unique if unique else 0.0
        truth.wrong_sizes += int(wrong)
        truth.unchanged += self._rows is self._told_rows and self.feed.key.request_type != "trade"
        self._told_rows = self._rows
        batch = self._declared(told_ms, len(self._rows) + int(wrong))
        if self._happens(self._habits.odd_ratio):
            batch = self._rng.choice(anomalies.KINDS).spoil(batch)
        return orjson.dumps(batch)

    def _garbage(self, told_ms: int) -> bytes:
        wanted = self._habits.garbage_kind
        kind = self._rng.choice([kind for kind in invalid_records.KINDS if wanted in ("", kind.name)])
        self._truth.invalid_records[self.feed.topic, kind.reason] += 1
        return kind.spoil(self._declared(told_ms, len(self._rows)))

    def _declared(self, told_ms: int, batch_size: int) -> dict[str, object]:
        key = self.feed.key
        return {
            "exchange": key.exchange,
            "region": key.region,
            "request_type": key.request_type,
            "timestamp_ms": told_ms,
            "batch_size": batch_size,
            "data": self._rows,
        }

    def _happens(self, ratio: float) -> bool:
        return self._rng.random() < ratio
