"""Events from what was analyzed: Avro or JSON bodies and CloudEvents headers. Pure: time is an argument.

The body of a batch event is the hot path: an Avro record is its fields one after another, so what is constant for a
feed is encoded once, and a batch adds four numbers. It equals what fastavro writes; a property test says so.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from io import BytesIO
from typing import Any, NamedTuple, Protocol

import fastavro
import msgspec
import orjson
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from exporter.feeds import Window
from exporter.model import BatchResult, EventType, FeedKey, Partition, Record, Rejected

EXCERPT_BYTES = 200
# A traceparent has 55 bytes, in later versions perhaps more. Whoever wrote the record may have written anything.
TRACEPARENT_BYTES = 128

_SCHEMA_FILES = {
    EventType.BATCH: "batch_collected.avsc",
    EventType.SUMMARY: "performance_summary.avsc",
    EventType.ERROR: "error.avsc",
}
_DOUBLE = struct.Struct("<d")


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event, ready for Kafka but for the frame before its body.

    `source` is the partition whose record it is about: the event goes where that partition goes. A summary is about
    several; `rest` makes it anew when some of them are gone.
    """

    type: EventType
    topic: str
    key: bytes
    body: bytes
    headers: list[tuple[str, bytes]]
    source: Partition
    rest: Callable[[Container[Partition]], Event | None] | None = None

    def without(self, partitions: Container[Partition]) -> Event | None:
        """Return what is left of the event when the partitions are somebody else's."""
        if self.rest is not None:
            return self.rest(partitions)
        return None if self.source in partitions else self


def load_schema(event_type: EventType) -> dict[str, Any]:
    """Return the Avro schema of an event as its file says it."""
    text = resources.files("exporter").joinpath("schemas", _SCHEMA_FILES[event_type]).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def single_object_frame(schema: dict[str, Any]) -> bytes:
    """Return the ten bytes before a body in Avro's single-object encoding: a marker and the schema's fingerprint.

    Avro 1.12 specification, "Single-object encoding": `C3 01`, then CRC-64-AVRO of the canonical form, little-endian.
    """
    canonical = to_parsing_canonical_form(parse_schema(schema))
    # fastavro prints the fingerprint's bytes in the order in which the frame wants them.
    return b"\xc3\x01" + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def confluent_frame(schema_id: int) -> bytes:
    """Return the five bytes before a body in Confluent's wire format: zero and the registry's id, big-endian."""
    return struct.pack(">bI", 0, schema_id)


def utc_text(time_ms: int) -> str:
    """Return Unix milliseconds as ISO 8601 in UTC: `2025-10-13T08:10:00.123Z`."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def avro_long(number: int) -> bytes:
    """Return Avro's encoding of a 64-bit integer: zigzag, then seven bits a byte, lowest first."""
    zigzag = (number << 1) ^ (number >> 63)
    # The upper part of a time changes every eight seconds: it is remembered, and the lower part stands in a table.
    return _varint(zigzag) if zigzag < 1 << 14 else _LOWER[zigzag & 0x3FFF] + _remembered(zigzag >> 14)


def _varint(rest: int) -> bytes:
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_remembered = lru_cache(maxsize=4096)(_varint)
_LOWER = tuple(bytes((low & 0x7F | 0x80, low >> 7 | 0x80)) for low in range(1 << 14))


def avro_text(text: str) -> bytes:
    """Return Avro's encoding of a string: its length in bytes, then UTF-8."""
    data = text.encode()
    return avro_long(len(data)) + data


_SMALL = tuple(avro_long(number) for number in range(4096))


class Stamp(NamedTuple):
    """A moment as events need it, made once a turn: as text, in a header, and in Avro."""

    text: str
    header: bytes
    avro: bytes

    @classmethod
    def at(cls, time_ms: int) -> Stamp:
        """Return the stamp of a moment in Unix milliseconds."""
        text = utc_text(time_ms)
        return cls(text, text.encode(), avro_text(text))


class Encoder(Protocol):
    """Turns what an event says into its body."""

    content_type: bytes

    def batch(self, feed: FeedKey, result: BatchResult, stamp: Stamp) -> bytes:
        """Return the body of a batch event."""

    def other(self, event_type: EventType, value: Mapping[str, Any]) -> bytes:
        """Return the body of a rarer event, given as the record its schema describes."""


class AvroEncoder:
    """Bodies in Avro binary, without a frame."""

    content_type = b"application/avro"

    def __init__(self) -> None:
        self._schemas = {event_type: parse_schema(load_schema(event_type)) for event_type in EventType}
        self._type = avro_text(EventType.BATCH)
        self._feeds: dict[FeedKey, bytes] = {}

    def batch(self, feed: FeedKey, result: BatchResult, stamp: Stamp) -> bytes:
        """Return the body of a batch event; see the head of this file."""
        names = self._feeds.get(feed)
        if names is None:
            names = self._feeds[feed] = b"".join(map(avro_text, feed))
        size, unique, efficiency, collected_ms = result
        return b"".join((
            self._type,
            stamp.avro,
            names,
            _SMALL[size] if size < 4096 else avro_long(size),
            _SMALL[unique] if unique < 4096 else avro_long(unique),
            _DOUBLE.pack(efficiency),
            avro_long(collected_ms),
        ))  # fmt: skip

    def other(self, event_type: EventType, value: Mapping[str, Any]) -> bytes:
        """Return the body of a rarer event as fastavro writes it."""
        out = BytesIO()
        fastavro.schemaless_writer(out, self._schemas[event_type], value)
        return out.getvalue()


class JsonEncoder:
    """Bodies in JSON, for people without Avro tools."""

    content_type = b"application/json"

    def batch(self, feed: FeedKey, result: BatchResult, stamp: Stamp) -> bytes:
        """Return the body of a batch event."""
        return self.other(EventType.BATCH, batch_value(feed, result, stamp.text))

    def other(self, event_type: EventType, value: Mapping[str, Any]) -> bytes:
        """Return the value as JSON; its fields are those of the schema."""
        return orjson.dumps(value)


def batch_value(feed: FeedKey, result: BatchResult, time_utc: str) -> dict[str, Any]:
    """Return a batch event as the record that `batch_collected.avsc` describes."""
    return {
        "event_type": EventType.BATCH.value,
        "event_timestamp_utc": time_utc,
        **feed._asdict(),
        "stats": {
            "batch_size": result.batch_size,
            "unique_symbols": result.unique_symbols,
            "cache_efficiency": result.cache_efficiency,
            "collection_timestamp_ms": result.timestamp_ms,
        },
    }


def summary_value(
    feed: FeedKey, window: Window, elapsed_seconds: float, period_seconds: int, time_utc: str
) -> dict[str, Any]:
    """Return a summary as the record that `performance_summary.avsc` describes; a silent window gives zeros."""
    batches = window.batches
    elapsed = max(elapsed_seconds, 0.001)
    return {
        "event_type": EventType.SUMMARY.value,
        "event_timestamp_utc": time_utc,
        **feed._asdict(),
        "aggregated_stats": {
            "total_batches": batches,
            "total_messages": window.messages,
            "avg_batch_size": window.messages / batches if batches else 0.0,
            "avg_symbols_per_batch": window.unique_sum / batches if batches else 0.0,
            "avg_cache_efficiency": window.efficiency_sum / batches if batches else 0.0,
            "messages_per_second": window.messages / elapsed,
            "batches_per_minute": batches * 60 / elapsed,
            "elapsed_seconds": elapsed,
        },
        "summary_period_seconds": period_seconds,
    }


def error_value(reason: str, message: str, time_utc: str, **place: str | int | None) -> dict[str, Any]:
    """Return an error as the record that `error.avsc` describes; `place` fills its optional fields."""
    return {
        "event_type": EventType.ERROR.value,
        "event_timestamp_utc": time_utc,
        "error_domain": "monitoring",
        "error_code": "monitoring_error",
        "reason": reason,
        "message": message[:500],
        "topic": None,
        "partition": None,
        "offset": None,
        "excerpt": None,
        "suppressed": 0,
        **place,
    }


def excerpt(value: bytes | None) -> str:
    """Return the start of a record as text that is safe anywhere: bytes that are not printable ASCII are escaped."""
    return (value or b"")[:EXCERPT_BYTES].decode("latin-1").encode("unicode_escape").decode("ascii")


class EventFactory:
    """Makes the events of one sidecar: where they go, their keys and CloudEvents headers (binary mode).

    `instance` is the `ce_source`. An event's `ce_id` is the place of the record that it is about, so a consumer
    can drop what it has seen; a summary's names instance, feed and the moment its interval ended.
    """

    def __init__(self, encoder: Encoder, instance: str, topic: str, error_topic: str) -> None:
        self._encoder = encoder
        self._instance = instance
        self._topic = topic
        self._error_topic = error_topic
        common = [("ce_specversion", b"1.0"), ("ce_source", instance.encode()), ("content-type", encoder.content_type)]
        self._common = {
            event_type: [*common, ("ce_type", f"marketdata.monitoring.{event_type}".encode())]
            for event_type in EventType
        }
        self._keys: dict[FeedKey, bytes] = {}

    def batch(self, record: Record, feed: FeedKey, result: BatchResult, stamp: Stamp) -> Event:
        """Return the event of one accepted batch."""
        key = self._keys.get(feed)
        if key is None:
            key = self._keys[feed] = str(feed).encode()
        topic, number = record.partition
        headers = [
            *self._common[EventType.BATCH],
            ("ce_id", b"%b/%d/%d" % (topic.encode(), number, record.offset)),
            ("ce_time", stamp.header),
        ]
        if record.traceparent is not None and len(record.traceparent) <= TRACEPARENT_BYTES:
            headers.append(("traceparent", record.traceparent))
        body = self._encoder.batch(feed, result, stamp)
        return Event(EventType.BATCH, self._topic, key, body, headers, record.partition)

    def summary(
        self, feed: FeedKey, parts: Mapping[Partition, tuple[Window, int]], now_ms: int, period_seconds: int
    ) -> Event:
        """Return the summary of a feed: of all its partitions, each with its window and when that began."""
        window = Window()
        for part, _ in parts.values():
            window.merge(part)
        elapsed = (now_ms - min(since_ms for _, since_ms in parts.values())) / 1000
        value = summary_value(feed, window, elapsed, period_seconds, utc_text(now_ms))
        identity = f"{self._instance}/{feed}/{value['event_timestamp_utc']}"

        def rest(gone: Container[Partition]) -> Event | None:
            kept = {partition: part for partition, part in parts.items() if partition not in gone}
            return self.summary(feed, kept, now_ms, period_seconds) if kept else None

        event = self._other(EventType.SUMMARY, self._topic, str(feed).encode(), identity, value, min(parts))
        return msgspec.structs.replace(event, rest=rest)

    def rejected(self, record: Record, rejected: Rejected, suppressed: int, time_utc: str) -> Event:
        """Return the error event of a record that is no valid batch."""
        topic, number = record.partition
        place: dict[str, str | int | None] = {"topic": topic, "partition": number, "offset": record.offset}
        value = error_value(
            rejected.reason, rejected.detail, time_utc, **place, excerpt=excerpt(record.value), suppressed=suppressed
        )
        identity = f"{record.partition}/{record.offset}"
        return self._other(EventType.ERROR, self._error_topic, identity.encode(), identity, value, record.partition)

    def given_up(self, event: Event, trouble: str, time_utc: str) -> Event | None:
        """Return the error event that tells of an event which can never be sent; of an error event, nothing tells."""
        if event.type is EventType.ERROR:
            return None
        identity = dict(event.headers)["ce_id"].decode()
        place: dict[str, str | int | None] = {"topic": event.source.topic, "partition": event.source.number}
        if event.type is EventType.BATCH:
            place["offset"] = int(identity.rpartition("/")[2])
        value = error_value("event_too_large", f"{event.type} {identity}: {trouble}", time_utc, **place)
        return self._other(EventType.ERROR, self._error_topic, identity.encode(), identity, value, event.source)

    def _other(
        self, event_type: EventType, topic: str, key: bytes, identity: str, value: Mapping[str, Any], source: Partition
    ) -> Event:
        headers = [
            *self._common[event_type],
            ("ce_id", identity.encode()),
            ("ce_time", value["event_timestamp_utc"].encode()),
        ]
        return Event(event_type, topic, key, self._encoder.other(event_type, value), headers, source)
