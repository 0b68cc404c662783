"""A pipeline, and records to feed it with."""

import json
from collections.abc import Callable

from exporter.config.feed_globs import FeedFilter
from exporter.config.schema import Config, Limits
from exporter.decoding.json_decoder import Decoder
from exporter.events.encoding import JsonEncoder
from exporter.events.factory import EventFactory
from exporter.feeds.health_factory import HealthFactory
from exporter.feeds.table import FeedTable
from exporter.kafka.positions import Position, Start
from exporter.model import FeedKey, Partition, Record
from exporter.pipeline import Pipeline
from exporter.publishing.dispatch import Dispatch

KEY = FeedKey("korea", "upbit", "ticker")
OTHER = FeedKey("korea", "bithumb", "ticker")
UNWANTED = FeedKey("us", "upbit", "ticker")
FIRST, SECOND = Partition("ticker-data.korea", 0), Partition("ticker-data.korea", 1)
NOW_MS = 1_760_343_000_000
START = Position(0, 0, NOW_MS)
WATCHES = HealthFactory(Config())


def start(position: Position, end: int) -> Start:
    """A start without anything that is read only to know what was."""
    return Start(position, position.summarized, end)


def value(feed: FeedKey = KEY, symbols: str = "AAB") -> bytes:
    """A batch with one message a letter."""
    rows = [{"target_currency": symbol} for symbol in symbols]
    return json.dumps({**feed._asdict(), "timestamp_ms": NOW_MS - 5, "data": rows}).encode()


def record(offset: int, content: bytes | None = None, partition: Partition = FIRST) -> Record:
    """A record with that content, or else with a good batch."""
    return Record(partition, offset, NOW_MS - 2, value() if content is None else content)


def pipeline(
    *,
    batch_events: bool = True,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    shown_as: Callable[[str], str] = str,
) -> Pipeline:
    """A pipeline that owns nothing yet; feeds of the region `us` are not wanted."""
    return Pipeline(
        Decoder(limits),
        FeedTable(limits, FeedFilter(["*"], ["us:*"]), WATCHES),
        EventFactory(JsonEncoder(), "box-1", "events", "errors"),
        batch_events=lambda topic: batch_events,
        summary_period_seconds=60.0,
        live_age_seconds=60.0,
        keep_updates=True,
        shown_as=shown_as,
    )


def take(pipeline: Pipeline, *records: Record, now_ms: int = NOW_MS) -> Dispatch:
    """One turn: decode the records and apply them."""
    return pipeline.analyze(records, pipeline.decode(records), now_ms)
