"""Input for the benchmarks: recorded rows in batches and feeds of any number, as collectors write them.

In each feed time goes on from batch to batch: after the last recorded row the first comes again, later. A feed lies in
one partition.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import count, cycle, islice
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Producer

from tests.support.recordings import recording

KINDS = {"ticker": "hitbtc", "trade": "upbit", "orderbook": "upbit"}
REGION = "bench"
DIFFERENT = 2000

Row = dict[str, Any]


class Shape(NamedTuple):
    """What comes in; with `symbols` each feed has so many made-up ones, in turn, in place of those recorded."""

    kind: str = "ticker"
    messages: int = 20
    feeds: int = 10
    symbols: int = 0

    def __str__(self) -> str:
        return f"{self.messages} messages, {self.feeds} feeds, {self.kind}"


class Sent(NamedTuple):
    """One record: the number of its feed, and its value."""

    feed: int
    value: bytes


@cache
def recorded_rows(kind: str) -> list[Row]:
    """The recorded rows of one kind, by time."""
    values = [record.value for record in recording(KINDS[kind]).records if record.value["request_type"] == kind]
    return sorted((row for value in values for row in value["data"]), key=lambda row: row["timestamp"])


def records(shape: Shape) -> Iterator[Sent]:
    """Yield records without end, of all feeds in turn; the stamps are those of the recording, and go on from there."""
    rows = _endless(recorded_rows(shape.kind))
    for number in count():
        data = _named(list(islice(rows, shape.messages)), shape, number)
        body, stamp_ms = orjson.dumps(data), data[-1]["timestamp"] + 50
        for feed in range(shape.feeds):
            yield Sent(feed, _value(f"exchange{feed}", shape.kind, stamp_ms, len(data), body))


def live(shape: Shape, number: int, now_ms: int) -> Sent:
    """Return the record `number` of collectors that send now; its rows are some milliseconds old."""
    turn, feed = divmod(number, shape.feeds)
    rows, first = recorded_rows(shape.kind), turn * shape.messages
    data = [
        {**rows[(first + place) % len(rows)], "timestamp": now_ms - shape.messages + place}
        for place in range(shape.messages)
    ]
    body = orjson.dumps(_named(data, shape, turn))
    return Sent(feed, _value(f"exchange{feed}", shape.kind, now_ms, shape.messages, body))


def renamed(sent: Sent, shape: Shape, exchange: str = "", symbol: str = "") -> Sent:
    """Return the record as another exchange's, or with all its rows about another symbol."""
    batch = orjson.loads(sent.value)
    data = [{**row, "target_currency": symbol} for row in batch["data"]] if symbol else batch["data"]
    body = orjson.dumps(data)
    return sent._replace(
        value=_value(exchange or batch["exchange"], shape.kind, batch["timestamp_ms"], len(data), body)
    )


def batches(size: int) -> list[bytes]:
    """Return some different batches of one feed."""
    return [sent.value for sent in islice(records(Shape(messages=size, feeds=1)), DIFFERENT)]


def fill(bootstrap: str, topic: str, partitions: int, shape: Shape, number: int) -> None:
    """Produce so many records."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    for sent in islice(records(shape), number):
        while True:
            try:
                producer.produce(topic, sent.value, partition=sent.feed % partitions)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def mean_bytes(shape: Shape) -> float:
    """Return how long a value is on average."""
    values = [len(sent.value) for sent in islice(records(shape._replace(feeds=1)), 50)]
    return sum(values) / len(values)


def _endless(rows: list[Row]) -> Iterator[Row]:
    span = rows[-1]["timestamp"] - rows[0]["timestamp"] + 1
    later = (round_ * span for round_ in count() for _ in rows)
    return ({**row, "timestamp": row["timestamp"] + more} for row, more in zip(cycle(rows), later, strict=False))


def _named(data: list[Row], shape: Shape, turn: int) -> list[Row]:
    if not shape.symbols:
        return data
    first = turn * shape.messages
    return [{**row, "target_currency": f"SYM{(first + place) % shape.symbols}"} for place, row in enumerate(data)]


def _value(exchange: str, kind: str, stamp_ms: int, size: int, body: bytes) -> bytes:
    head = {
        "exchange": exchange,
        "region": REGION,
        "request_type": kind,
        "timestamp_ms": stamp_ms,
        "batch_size": size,
    }
    return orjson.dumps(head)[:-1] + b',"data":' + body + b"}"
