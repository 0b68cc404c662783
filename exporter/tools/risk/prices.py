"""Prices of symbols over time, from records: of a recording, or the newest of topics."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from exporter.config.risk_schema import RiskConfig
from exporter.config.schema import Config
from exporter.config.subscription import Subscription
from exporter.decoding.record_decoder import RecordDecoder
from exporter.kafka.reader import TopicReader, reader_properties
from exporter.model import FeedKey, Partition, Record, Rejected
from exporter.risk.history import PriceHistory
from exporter.risk.plausibility import PriceFilter, Quote
from exporter.risk.prices import rank
from exporter.risk.symbols import SEPARATOR
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


def sample(history: PriceHistory, symbols: Collection[str], found: list[Priced], config: Config) -> dict[str, float]:
    """Sample the prices of symbols at each step, and return those that count at the end, as the sidecar would."""
    source = _sources(symbols, found, config.risk.feeds)
    look = _Look(symbols, config.risk)
    due_ms = 0
    for time_ms, feed, prices in found:
        for symbol, (key, name) in source.items():
            if key == feed and name in prices:
                look.last[symbol] = Quote(prices[name], time_ms)
        if time_ms >= due_ms:
            history.sample(look.accepted(time_ms), time_ms)
            due_ms = time_ms + history.step_ms
        elif look.filter.is_waiting:
            look.accepted(time_ms)
    if not found:
        return {}
    end_ms = found[-1].time_ms
    accepted = look.accepted(end_ms)
    # Too few prices to confirm a first one: nothing better is known.
    firsts = {symbol: each.price for symbol, each in look.filter.unconfirmed.items() if each.accepted is None}
    accepted |= {symbol: price for symbol, price in firsts.items() if symbol in look.fresh(end_ms)}
    history.sample(accepted, end_ms)
    return accepted


class _Look:
    """The last quotes of symbols, and which of them count."""

    def __init__(self, symbols: Iterable[str], risk: RiskConfig) -> None:
        self.last: dict[str, Quote] = {}
        self.filter = PriceFilter(risk.plausibility)
        self.filter.hold(symbols)
        self._age_ms = round(1000 * risk.price_age)

    def fresh(self, now_ms: int) -> dict[str, Quote]:
        return {symbol: quote for symbol, quote in self.last.items() if quote.seen_ms >= now_ms - self._age_ms}

    def accepted(self, now_ms: int) -> dict[str, float]:
        return self.filter.accept(self.fresh(now_ms), now_ms, self._age_ms)


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
