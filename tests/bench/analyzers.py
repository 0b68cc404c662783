"""`python -m tests.bench.analyzers [REPEATS]`: what the analyzers cost a batch, in processor time, without a broker.

`without` is decoding and measuring a batch without any analyzer. What comes on top of it: reading the optional fields,
sorting the stamps (less the search for the newest, which that replaces), and each analyzer; `together` is their sum.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from exporter.analyzers import Analyzer, analyzers
from exporter.analyzers.quality import Quality
from exporter.config.schema import Config, FeedsConfig, Limits, Thresholds
from exporter.decoding.batch import Batch
from exporter.decoding.batch_stats import BatchStats
from exporter.decoding.json_decoder import Decoder
from exporter.model import Arrival, BatchResult
from tests.bench.load import batches
from tests.support.recordings import NAMES, recording

COLUMNS = ("without", "fields", "stamps", *(each.__name__ for each in analyzers()), "together", "duplicates")


class Row(msgspec.Struct, gc=False):
    """What is read of a message without any analyzer."""

    target_currency: str
    timestamp: int | float | None = 0


class Plain(msgspec.Struct, gc=False):
    """What is read of a batch without any analyzer."""

    exchange: str
    region: str
    request_type: str
    timestamp_ms: int
    data: list[Row]
    batch_size: int | float | None = None


def loads() -> dict[str, list[bytes]]:
    """The records to measure with: batches of 20 tickers, then each recorded feed as it came."""
    found = {"hitbtc in twenties": [_stamped(json.loads(value)) for value in batches(20)]}
    for name in NAMES:
        for record in recording(name).records:
            value = json.dumps(record.value, separators=(",", ":")).encode()
            found.setdefault(f"{name} {record.value['request_type']}", []).append(value)
    return found


def _stamped(batch: dict[str, Any]) -> bytes:
    """The batch as if it had been sent when its newest message was 50 ms old; the load has one stamp for all."""
    newest = max(message["timestamp"] for message in batch["data"])
    return json.dumps({**batch, "timestamp_ms": newest + 50}, separators=(",", ":")).encode()


def main(repeats: int = 7) -> None:
    """Measure and print; the least of the repeats counts, because whatever disturbs only adds."""
    print(f"{'µs a batch':22}{'rows':>7}{'bytes':>8}" + "".join(f"{column:>12}" for column in COLUMNS))
    decoder = Decoder(Limits())
    for name, values in loads().items():
        read = [decoder.decode(value) for value in values]
        rows = sum(len(batch.data) for batch in read) / len(read)
        size = sum(map(len, values)) / len(values)
        costs = _costs(decoder, values, read, repeats)
        print(f"{name:22}{rows:7.1f}{size:8.0f}" + "".join(f"{cost:12.2f}" for cost in costs))


def _costs(decoder: Decoder, values: list[bytes], read: list[Batch], repeats: int) -> list[float]:
    seen = [(batch, BatchStats(batch), _arrival(batch)) for batch in read]
    plain = msgspec.json.Decoder(Plain)
    steps: list[tuple[Callable[..., Any], Iterable[Any]]] = [
        (plain.decode, values),
        (decoder._full.decode, values),
        (_Counted, read),
        (BatchStats, read),
        *((_observing(kind, Config()), seen) for kind in analyzers()),
        (_observing(Quality, Config(feeds=FeedsConfig(find_duplicates=True))), seen),
        (lambda given: None, seen),
    ]
    best = [float("inf")] * len(steps)
    for _ in range(repeats):  # all steps in turn, so that a busy machine is equally unfair to each
        best = [min(least, _time(step, items)) for least, (step, items) in zip(best, steps, strict=True)]
    before, after, counted, stats, *observed, duplicates, call = best
    added = [after - before, stats - counted, *(each - call for each in observed)]
    quality = observed[analyzers().index(Quality)]
    return [before + counted, *added, sum(added), duplicates - quality]


def _observing(kind: type[Analyzer], config: Config) -> Callable[[Any], object]:
    """Return what an analyzer does with a batch."""
    analyzer = kind.create(config, Thresholds())
    return lambda given: analyzer.observe(*given)


class _Counted:
    """What counting alone needs of a batch, and the newest stamp."""

    __slots__ = ("latest", "names", "result", "symbols")

    def __init__(self, batch: Batch) -> None:
        self.names = [message.symbol for message in batch.data]
        self.symbols = set(self.names)
        unique = len(self.symbols)
        self.result = BatchResult(len(self.names), unique, 1 / unique if unique else 0.0, batch.timestamp_ms)
        self.latest = max([message.timestamp for message in batch.data])  # type: ignore[type-var]


def _time(step: Callable[[Any], object], items: Iterable[Any]) -> float:
    items = list(items)
    times = max(1, 2000 // len(items))
    begin = time.process_time()
    for _ in range(times):
        for item in items:
            step(item)
    return (time.process_time() - begin) / times / len(items) * 1e6


def _arrival(batch: Batch) -> Arrival:
    return Arrival(batch.timestamp_ms + 20, batch.timestamp_ms + 150, True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
