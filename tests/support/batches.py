"""Batches for the analyzers: made up row by row, or as captured."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from exporter.config.schema import Limits
from exporter.decoding.batch import Batch, Message
from exporter.decoding.batch_stats import BatchStats
from exporter.decoding.json_decoder import Decoder
from exporter.instrument.histogram import Histogram
from exporter.model import Arrival, FeedKey
from tests.support.captures import capture

FEED = FeedKey("korea", "upbit", "ticker")
NOW_MS = 1_760_031_213_693


class Observed(NamedTuple):
    """What an analyzer is given of one batch."""

    batch: Batch
    stats: BatchStats
    arrival: Arrival


def kept(histogram: Histogram | None) -> Histogram:
    """A histogram that is kept, as all are by default."""
    assert histogram is not None
    return histogram


def message(symbol: str = "A", stamp: float | None = NOW_MS, **fields: Any) -> Message:
    """A row; levels of a book are given as plain lists."""
    for side in {"asks", "bids", "units"} & fields.keys():
        fields[side] = msgspec.Raw(json.dumps(fields[side]).encode())
    return Message(symbol, stamp, **fields)


def observed(
    *rows: Message, sent: int = NOW_MS, recorded: int | None = None, received: int | None = None, live: bool = True
) -> Observed:
    """A batch of the rows; the broker stamped it 10 ms after it was sent and it was read 20 ms later, unless told."""
    recorded = sent + 10 if recorded is None else recorded
    batch = Batch(FEED.exchange, FEED.region, FEED.request_type, sent, list(rows), len(rows))
    return Observed(batch, BatchStats(batch), Arrival(recorded, recorded + 20 if received is None else received, live))


def stamps_of(batch: Batch) -> Sequence[float]:
    """The stamps of a batch that are known, in order of its rows."""
    return [row.timestamp for row in batch.data if row.timestamp]


def captured_batches(name: str) -> Iterator[tuple[FeedKey, Observed]]:
    """Yield the batches of a capture, each as if it had been read 30 ms after it was sent."""
    decoder = Decoder(Limits())
    for record in capture(name).records:
        batch = decoder.decode(json.dumps(record.value).encode())
        arrival = Arrival(record.received_ms + 10, record.received_ms + 30, True)
        yield FeedKey(batch.region, batch.exchange, batch.request_type), Observed(batch, BatchStats(batch), arrival)
