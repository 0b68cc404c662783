"""Simulated collectors: what they would send to Kafka, record by record, and the truth about it.

Pure and deterministic: the same seed and feeds make the same records, whatever steps the time is asked for in.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

import orjson

from exporter.model import FeedKey, Reason
from exporter.tools import garbage, prices


class SimulatedRecord(NamedTuple):
    """One record as a collector sends it; `timestamp_ms` (Unix) is when."""

    topic: str
    key: bytes
    value: bytes
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Feed:
    """One collector and how it behaves; the times after which it changes count from the start of the simulation.

    A silent feed sends nothing any more; a frozen one sends the same rows again and again. The two ratios say how
    many of its records are garbage, and how many declare a `batch_size` that is not the number of their rows.
    """

    key: FeedKey
    pattern: str = "{}-USDT"
    symbols: int = 20
    batch_messages: tuple[int, int] = (20, 150)
    interval_ms: float = 1000.0
    silent_after_ms: float = math.inf
    frozen_after_ms: float = math.inf
    garbage_ratio: float = 0.0
    wrong_size_ratio: float = 0.0

    @property
    def topic(self) -> str:
        """The topic that collectors of this region and request type write to."""
        return f"{self.key.request_type}-data.{self.key.region}"


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
    """What an exact reader counts of one feed; the sums run over its batches."""

    batches: int = 0
    messages: int = 0
    unique_symbols: int = 0
    cache_efficiency: float = 0.0
    wrong_sizes: int = 0


@dataclass(slots=True)
class Truth:
    """What an exact reader counts of all that the collectors sent; `garbage` by topic and reason."""

    feeds: dict[FeedKey, FeedTruth] = field(default_factory=dict)
    garbage: Counter[tuple[str, Reason]] = field(default_factory=Counter)


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
            if collector.is_silent():
                heapq.heappop(self._due)
                continue
            record = collector.send(int(due_ms))
            heapq.heapreplace(self._due, (collector.next_ms, number))
            yield record


class _Collector:
    """One feed with a randomness of its own, so that the other feeds do not change what it sends."""

    def __init__(self, seed: int, feed: Feed, start_ms: int, truth: Truth) -> None:
        self.feed = feed
        self._rng = Random(f"{seed}/{feed.key}")  # noqa: S311 - made-up prices keep no secret
        self._start_ms = start_ms
        self._truth = truth
        self._key = str(feed.key).encode()
        self._instruments = [
            prices.Instrument(symbol, self._rng) for symbol in prices.symbol_names(feed.pattern, feed.symbols)
        ]
        self._row = prices.ROWS[feed.key.request_type]
        self._rows: list[prices.Row] = []
        self._previous_ms = start_ms
        self.next_ms = start_ms + feed.interval_ms * self._rng.random()

    def is_silent(self) -> bool:
        """Tell whether the collector stopped before its next batch."""
        return self.next_ms - self._start_ms >= self.feed.silent_after_ms

    def send(self, now_ms: int) -> SimulatedRecord:
        """Make the record that is due and count it in the truth."""
        if not self._rows or self.next_ms - self._start_ms < self.feed.frozen_after_ms:
            self._rows = self._fresh_rows(now_ms)
        self._previous_ms = now_ms
        self.next_ms += self.feed.interval_ms * self._rng.uniform(0.8, 1.2)
        value = self._garbage(now_ms) if self._happens(self.feed.garbage_ratio) else self._batch(now_ms)
        return SimulatedRecord(self.feed.topic, self._key, value, now_ms)

    def _fresh_rows(self, now_ms: int) -> list[prices.Row]:
        """Read the exchange: some instruments more than once, stamped since the last batch, in the order of time."""
        count = self._rng.randint(*self.feed.batch_messages)
        stamps = sorted(self._rng.randint(self._previous_ms, now_ms) for _ in range(count))
        chosen = self._rng.choices(self._instruments, k=count)
        for instrument in chosen:
            instrument.move()
        return [self._row(instrument, stamp) for instrument, stamp in zip(chosen, stamps, strict=True)]

    def _batch(self, now_ms: int) -> bytes:
        wrong = self._happens(self.feed.wrong_size_ratio)
        unique = len({row["target_currency"] for row in self._rows})
        truth = self._truth.feeds.setdefault(self.feed.key, FeedTruth())
        truth.batches += 1
        truth.messages += len(self._rows)
        truth.unique_symbols += unique
        truth.cache_efficiency += 1 / unique if unique else 0.0
        truth.wrong_sizes += int(wrong)
        return orjson.dumps(self._declared(now_ms, len(self._rows) + int(wrong)))

    def _garbage(self, now_ms: int) -> bytes:
        kind = self._rng.choice(garbage.KINDS)
        self._truth.garbage[self.feed.topic, kind.reason] += 1
        return kind.spoil(self._declared(now_ms, len(self._rows)))

    def _declared(self, now_ms: int, batch_size: int) -> dict[str, object]:
        key = self.feed.key
        return {
            "exchange": key.exchange,
            "region": key.region,
            "request_type": key.request_type,
            "timestamp_ms": now_ms,
            "batch_size": batch_size,
            "data": self._rows,
        }

    def _happens(self, ratio: float) -> bool:
        return self._rng.random() < ratio
