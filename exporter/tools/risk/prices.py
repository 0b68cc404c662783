"""Prices of symbols over time, from records: of a recording, or the newest of topics."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from exporter.config.schema import Config
from exporter.config.subscription import Subscription
from exporter.decoding.record_decoder import RecordDecoder
from exporter.kafka.reader import TopicReader, reader_properties
from exporter.model import FeedKey, Partition, Record, Rejected
from exporter.risk.history import PriceHistory
from exporter.risk.prices import SEPARATOR, rank
from exporter.tools.explain.newest import newest

ANSWER_SECONDS, READ_SECONDS = 10.0, 30.0


class RecordingError(Exception):
    """The recording cannot be read; the text is the reason."""


class Priced(NamedTuple):
    """The prices of one record, and its time in Unix milliseconds."""

    time_ms: int
    feed: FeedKey
    prices: dict[str, float]


def recorded(path: str) -> Iterator[Record]:
    """Yield the records of a recording: JSON lines with `topic`, `received_ms` and `value`, also compressed by gzip."""
    data = Path(path).read_bytes()
    lines = (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).splitlines()
    for number, line in enumerate(lines):
        try:
            found = orjson.loads(line)
            value = found["value"]
            body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            yield Record(Partition(str(found["topic"]), 0), number, int(found["received_ms"]), body)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RecordingError(f"line {number + 1} of {path} is no record: {error}") from error


def newest_records(config: Config, count: int) -> list[Record]:
    """Return so many records of each partition of the input, the newest; raise `KafkaException`."""
    with TopicReader(reader_properties(config), config.input.group, ANSWER_SECONDS) as reader:
        partitions = reader.partitions(Subscription(config.input.topics, config.input.exclude))
        found = newest(reader, partitions, count, time.monotonic() + READ_SECONDS)
    records = [record for topic in found.values() for record in topic]
    return sorted(records, key=lambda record: record.timestamp_ms)


def priced(records: Iterable[Record], decoder: RecordDecoder) -> list[Priced]:
    """Return the prices of all valid batches, in order of their records."""
    found = []
    for record in records:
        try:
            batch = None if record.is_event else decoder.read(record)
        except Rejected:
            continue
        if batch is not None:
            rows = [(row.symbol, row.price if row.last is None else row.last) for row in batch.data]
            prices = {symbol: price for symbol, price in rows if price is not None and price > 0}
            found.append(Priced(record.timestamp_ms, FeedKey(batch.region, batch.exchange, batch.request_type), prices))
    return found


def sample(history: PriceHistory, symbols: Iterable[str], found: list[Priced], config: Config) -> dict[str, float]:
    """Sample the prices of symbols at each step, and return those that are fresh at the end."""
    source = _sources(symbols, found, config.risk.feeds)
    last: dict[str, tuple[float, int]] = {}
    age_ms, due_ms = round(1000 * config.risk.price_age), 0
    for time_ms, feed, prices in found:
        if due_ms and time_ms >= due_ms:
            history.sample(_fresh(last, time_ms - age_ms), time_ms)
        if not due_ms or time_ms >= due_ms:
            due_ms = time_ms + history.step_ms
        for symbol, (key, name) in source.items():
            if key == feed and name in prices:
                last[symbol] = prices[name], time_ms
    if not found:
        return {}
    fresh = _fresh(last, found[-1].time_ms - age_ms)
    history.sample(fresh, found[-1].time_ms)
    return fresh


def _fresh(last: dict[str, tuple[float, int]], oldest_ms: int) -> dict[str, float]:
    return {symbol: price for symbol, (price, time_ms) in last.items() if time_ms >= oldest_ms}


def _sources(symbols: Iterable[str], found: Iterable[Priced], globs: tuple[str, ...]) -> dict[str, tuple[FeedKey, str]]:
    """Return feed and name of each symbol that is carried: the named feed, or the first in the order of the globs."""
    carried: dict[str, set[FeedKey]] = {}
    for _, feed, prices in found:
        for name in prices:
            carried.setdefault(name, set()).add(feed)
            carried.setdefault(f"{feed}{SEPARATOR}{name}", set()).add(feed)
    sources = {}
    for symbol in symbols:
        feeds = sorted((place, key) for key in carried.get(symbol, ()) if (place := rank(key, globs)[0]) < len(globs))
        if feeds:
            key = feeds[0][1]
            sources[symbol] = key, symbol.removeprefix(f"{key}{SEPARATOR}")
    return sources
