"""Bodies of events, in Avro or JSON, and the frames before them. Pure: time is an argument.

The body of a batch event is the hot path: an Avro record is its fields one after another, so what is constant for a
feed is encoded once, and a batch adds four numbers. The result equals that of fastavro, which a property test checks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple, Protocol

import fastavro
import orjson
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from exporter.core import CoreChoice, native
from exporter.events.values import batch_value, load_schema
from exporter.model import AnyEventType, BatchResult, EventType, FeedKey

# Size of the cache of constants per feed: more than the default limit of feeds.
CACHED_FEEDS = 16_384
_DOUBLE = struct.Struct("<d")


def single_object_frame(schema: dict[str, Any]) -> bytes:
    """Return the ten bytes before a body in Avro's single-object encoding: a marker and the schema's fingerprint.

    Avro 1.12 specification, "Single-object encoding": `C3 01`, then CRC-64-AVRO of the canonical form, little-endian.
    """
    canonical = to_parsing_canonical_form(parse_schema(schema))
    # fastavro prints the bytes of the fingerprint in the order of the frame.
    return b"\xc3\x01" + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def confluent_frame(schema_id: int) -> bytes:
    """Return the five bytes before a body in Confluent's wire format: zero and the registry's id, big-endian."""
    return struct.pack(">bI", 0, schema_id)


def avro_long(number: int) -> bytes:
    """Return Avro's encoding of a 64-bit integer: zigzag, then seven bits a byte, lowest first."""
    zigzag = (number << 1) ^ (number >> 63)
    # The upper part of a time changes every eight seconds and is cached; the lower part is in a table.
    return _varint(zigzag) if zigzag < 1 << 14 else _LOW_BYTES[zigzag & 0x3FFF] + _cached_varint(zigzag >> 14)


def _varint(rest: int) -> bytes:
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_cached_varint = lru_cache(maxsize=4096)(_varint)
_LOW_BYTES = tuple(bytes((low & 0x7F | 0x80, low >> 7 | 0x80)) for low in range(1 << 14))


def avro_text(text: str) -> bytes:
    """Return Avro's encoding of a string: its length in bytes, then UTF-8."""
    data = text.encode()
    return avro_long(len(data)) + data


@lru_cache(maxsize=CACHED_FEEDS)
def avro_names(feed: FeedKey) -> bytes:
    return b"".join(map(avro_text, feed))


_SMALL = tuple(avro_long(number) for number in range(4096))


def utc_text(time_ms: int) -> str:
    """Return Unix milliseconds as ISO 8601 in UTC: `2025-10-13T08:10:00.123Z`."""
    return f"{_second_text(time_ms // 1000)}.{time_ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second_text(time_s: int) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%dT%H:%M:%S}"


class Stamp(NamedTuple):
    """A time in the forms that events need, created once a turn: as text, in a header, and in Avro."""

    text: str
    header: bytes
    avro: bytes

    @classmethod
    def at(cls, time_ms: int) -> Stamp:
        """Return the stamp of a time in Unix milliseconds."""
        text = utc_text(time_ms)
        return cls(text, text.encode(), avro_text(text))


def _body(head: bytes, names: bytes, result: BatchResult) -> bytes:
    size, unique, efficiency, collected_ms = result
    return b"".join((
        head,
        names,
        _SMALL[size] if size < 4096 else avro_long(size),
        _SMALL[unique] if unique < 4096 else avro_long(unique),
        _DOUBLE.pack(efficiency),
        avro_long(collected_ms),
    ))  # fmt: skip


class Encoder(Protocol):
    """Encoder of the values of an event into its body.

    `core` is the native core if that encodes the events of batches as well, otherwise None.
    """

    content_type: bytes
    core: Any

    def encode_batch(self, feed: FeedKey, result: BatchResult, stamp: Stamp) -> bytes:
        """Return the body of a batch event."""

    def encode(self, event_type: AnyEventType, value: Mapping[str, Any]) -> bytes:
        """Return the body of any event, given as the record that its schema describes."""


class AvroEncoder:
    """Encoder of the bodies of some types of events in Avro binary, without a frame; `core` encodes batch events."""

    content_type = b"application/avro"

    def __init__(self, types: Iterable[AnyEventType] = EventType, core: CoreChoice = "python") -> None:
        self._schemas = {event_type: parse_schema(load_schema(event_type)) for event_type in types}
        self._type = avro_text(EventType.BATCH)
        self.core = native(core)
        self._body: Callable[[bytes, bytes, BatchResult], bytes] = _body if self.core is None else self.core.batch_body

    def encode_batch(self, feed: FeedKey, result: BatchResult, stamp: Stamp) -> bytes:
        """Return the body of a batch event; see the top of this file."""
        return self._body(self._type + stamp.avro, avro_names(feed), result)

    def encode(self, event_type: AnyEventType, value: Mapping[str, Any]) -> bytes:
        """Return the body of any event as fastavro writes it."""
        out = BytesIO()
        fastavro.schemaless_writer(out, self._schemas[event_type], value)
        return out.getvalue()


class JsonEncoder:
    """Encoder of bodies in JSON, for readers without Avro tools."""

    content_type = b"application/json"
    core = None

    def encode_batch(self, feed: FeedKey, result: BatchResult, stamp: Stamp) -> bytes:
        """Return the body of a batch event."""
        return self.encode(EventType.BATCH, batch_value(feed, result, stamp.text))

    def encode(self, event_type: AnyEventType, value: Mapping[str, Any]) -> bytes:
        """Return the value as JSON; its fields are those of the schema."""
        # A copy: the bytes of orjson keep their buffer of 4 KB for as long as the event waits.
        return bytes(memoryview(orjson.dumps(value)))
