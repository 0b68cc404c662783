"""Traffic made up in the shape of the recordings, and built from its counts: nothing counts what was built."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from exporter.model import FeedKey
from tests.support.recordings import Capture, Counted, Recorded

FIRST_MS = 1_735_732_800_000
LEVELS = 15

Fields = dict[str, Any]


def _ticker(price: float) -> Fields:
    return {"first": price - 1, "last": price, "high": price + 2, "low": price - 2}


def _unopened(price: float) -> Fields:
    return {**_ticker(price), "first": None}


def _trade(price: float) -> Fields:
    return {"price": price, "size": 0.25, "side": "BID" if price % 2 else "ASK"}


def _sides(price: float) -> Fields:
    levels = range(1, LEVELS + 1)
    return {
        "asks": [[str(price + level), "2", "0", "1"] for level in levels],
        "bids": [[str(price - level), "3", "0", "1"] for level in levels],
    }


def _units(price: float) -> Fields:
    levels = range(1, LEVELS + 1)
    return {"units": [{"ap": price + level, "bp": price - level, "as": 2.5, "bs": 3.5} for level in levels]}


class Size(NamedTuple):
    """How many messages a batch has, and of how many symbols they are."""

    messages: int
    symbols: int


class Made(NamedTuple):
    """One feed: batches of these sizes, one after the other, `every_ms`; the messages are `age_ms` old."""

    feed: FeedKey
    symbol: str  # a pattern that is given the number of a symbol
    fields: Callable[[float], Fields]
    sizes: tuple[Size, ...]
    every_ms: int = 1000
    age_ms: int = 300
    copies: int = 1  # how many times each message is sent

    def counted(self) -> Counted:
        """Return what an exact reader counts; each batch is of the first symbols, so the largest has them all."""
        return Counted(
            len(self.sizes),
            sum(size.messages for size in self.sizes),
            sum(size.symbols for size in self.sizes),
            math.fsum(1 / size.symbols for size in self.sizes),
            max(size.symbols for size in self.sizes),
        )

    def records(self) -> Iterator[Recorded]:
        """Yield its batches in order."""
        for number, size in enumerate(self.sizes):
            sent_ms = FIRST_MS + number * self.every_ms
            value = {**self.feed._asdict(), "timestamp_ms": sent_ms, "batch_size": size.messages}
            rows = [self._row(number, row // self.copies, size, sent_ms) for row in range(size.messages)]
            topic = f"{self.feed.request_type}-data.{self.feed.region}"
            yield Recorded(topic, sent_ms, {**value, "data": rows})

    def _row(self, batch: int, row: int, size: Size, sent_ms: int) -> dict[str, Any]:
        symbol = row % size.symbols
        stamp_ms = sent_ms - self.age_ms - size.messages + row
        price = 1000.0 + 100 * symbol + (batch + row // size.symbols) % 7
        return {"target_currency": self.symbol.format(symbol), "timestamp": stamp_ms, **self.fields(price)}


FEEDS = (
    # A large market in two batches, and the others as they come.
    Made(FeedKey("korea", "alpha", "ticker"), "S{}-KRW", _ticker, (Size(114, 110), Size(182, 182))),
    Made(FeedKey("korea", "alpha", "trade"), "S{}_KRW", _trade, (Size(1, 1), Size(4, 2)) * 2, every_ms=3000),
    Made(FeedKey("korea", "beta", "orderbook"), "KRW-S{}", _units, (Size(4, 1), Size(6, 3), Size(5, 5)) * 10),
    Made(FeedKey("korea", "beta", "trade"), "KRW-S{}", _trade, (Size(9, 1), Size(12, 3)) * 15),
    Made(FeedKey("asia", "gamma", "ticker"), "S{}USDT", _unopened, (Size(11, 6), Size(12, 10)) * 15, age_ms=1800),
    Made(FeedKey("asia", "gamma", "orderbook"), "S{}-USDT", _sides, (Size(24, 3), Size(25, 2)) * 6),
    Made(FeedKey("asia", "gamma", "trade"), "S{}-USDT", _trade, (Size(7, 1), Size(8, 3)) * 5, 2000, age_ms=26_000),
    Made(FeedKey("europe", "delta", "ticker"), "S{}ETH", _ticker, (Size(36, 1), Size(40, 10)) * 11, copies=2),
)


@cache
def made_up() -> Capture:
    """Return the batches of all feeds, by time."""
    records = [record for made in FEEDS for record in made.records()]
    truth = {str(made.feed): made.counted() for made in FEEDS}
    return Capture(sorted(records, key=lambda record: record.received_ms), truth)
