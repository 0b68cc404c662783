"""Simulated collectors whose behaviour a test may change while they send: the rows and garbage of the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import orjson

from exporter.model import FeedKey
from exporter.tools.simulate import invalid_records
from exporter.tools.simulate.prices import ROWS, Instrument, symbol_names

# Enough for a share of them to be missing; each more costs time in each of a million batches.
SYMBOLS = 6
GARBAGE = {kind.name: kind for kind in invalid_records.KINDS}


class Written(NamedTuple):
    """A record as it is appended to a partition: the stamp that Kafka keeps, and the bytes of a batch."""

    record_ms: int
    value: bytes


class Collector:
    """Sends a batch of one feed every `period_ms`; each attribute may change while the world runs."""

    def __init__(self, feed: str, period_ms: int = 1000, *, is_random: bool = False) -> None:
        self.feed = FeedKey(*feed.split(":"))
        self.topic = f"{self.feed.request_type}-data.{self.feed.region}"
        self.period_ms = period_ms
        self.is_running = True
        self.is_market_moving = True
        self.symbols = SYMBOLS
        self.clock_ms = 0  # how far its clock is ahead
        self.stamps_records = True  # false: the broker does
        self.garbage = ""  # the kind of record that it sends in place of batches
        self.garbage_ratio = 1.0
        self._is_random = is_random
        self._random = Random(feed)
        self._next_ms = 0
        self._make_row = ROWS[self.feed.request_type]
        self._instruments = [Instrument(name, self._random) for name in symbol_names("KRW-{}", SYMBOLS)]
        self._rows = [self._make_row(instrument, 0) for instrument in self._instruments]

    def begin(self, now_ms: int) -> None:
        """Send the first batch within a period from now."""
        self._next_ms = now_ms + self._random.randrange(self.period_ms)
        self._rows = [self._make_row(instrument, now_ms) for instrument in self._instruments]

    def send(self, now_ms: int) -> list[Written]:
        """Return the batches that are due."""
        due: list[Written] = []
        while self._next_ms <= now_ms:
            at_ms = self._next_ms
            self._next_ms += round(self._random.expovariate(1 / self.period_ms)) if self._is_random else self.period_ms
            if self.is_running:
                due.append(self._record(at_ms))
        return due

    def replay(self, times_ms: Sequence[int]) -> list[Written]:
        """Return the batches of a past that begins with the first of these times."""
        past = Collector(str(self.feed))
        past.begin(times_ms[0])
        past.garbage = self.garbage
        return [past._record(at_ms) for at_ms in times_ms]

    def _record(self, at_ms: int) -> Written:
        event_time_ms = at_ms + self.clock_ms
        if self.is_market_moving:
            self._trade(event_time_ms)
        batch: dict[str, object] = {
            **self.feed._asdict(),
            "timestamp_ms": event_time_ms,
            "batch_size": self.symbols,
            "data": self._rows[: self.symbols],
        }
        is_garbage = self.garbage and self._random.random() < self.garbage_ratio
        value = GARBAGE[self.garbage].apply(batch) if is_garbage else orjson.dumps(batch)
        return Written(event_time_ms if self.stamps_records else at_ms, value)

    def _trade(self, now_ms: int) -> None:
        """Move the price of one symbol; the others are sent again as they are, which real collectors do as well."""
        number = int(self._random.random() * self.symbols)
        self._instruments[number].move()
        self._rows[number] = self._make_row(self._instruments[number], now_ms)
