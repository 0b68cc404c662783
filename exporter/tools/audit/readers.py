"""Readers of the sides of an audit: input records, events, and the text of `/metrics`. Pure.

An audit does not count with the code that it audits: generic JSON and Avro readers do. Shared with the sidecar are the
schemas, the vocabulary, and the rules for valid records and for spellings of numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from io import BytesIO
from typing import Any, NamedTuple

import fastavro
import orjson
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from exporter.config.feed_globs import FeedFilter
from exporter.config.schema import Config
from exporter.decoding.json_decoder import Decoder
from exporter.decoding.literals import BOM, as_json
from exporter.decoding.names import check_feed, check_symbol
from exporter.decoding.numbers import whole
from exporter.instrument.samples import samples
from exporter.model import EventType, FeedKey, Partition
from exporter.runtime.foreign_text import printable
from exporter.tools.audit.ledger import BatchFacts, MetricsTruth

Headers = Mapping[str, bytes | str | None] | Sequence[tuple[str, bytes | str | None]]

_SINGLE_OBJECT = b"\xc3\x01"
_CONFLUENT = b"\x00"
_DIGITS = 4000
# All errors that fastavro and the conversion of its values may raise for other bytes.
_NO_EVENT = (ValueError, LookupError, TypeError, EOFError, OverflowError, MemoryError, RecursionError)


class UnreadableError(Exception):
    """The bytes are not of the expected format, for the reason in the text."""


class InputReader:
    """Reader of input records, with the limits and the filter of a configuration."""

    def __init__(self, config: Config) -> None:
        self._decoder = Decoder(config.input.limits, config.input.symbol_field)
        self._wanted = FeedFilter(config.feeds.include, config.feeds.exclude)
        self._name_length = config.input.limits.name_length
        self._symbol_field = config.input.symbol_field

    def wants(self, feed: FeedKey) -> bool:
        """Return whether a feed is included."""
        return self._wanted.wants(feed)

    def facts(self, value: bytes | None) -> BatchFacts | None:
        """Return the numbers of a valid batch, None if its feed is filtered out; raise `Rejected` for other records."""
        batch = self._decoder.decode(value)
        feed = FeedKey(batch.region, batch.exchange, batch.request_type)
        check_feed(feed, self._name_length)
        if not self.wants(feed):
            return None
        facts, symbols = self._count(value or b"")
        for symbol in symbols:
            check_symbol(symbol, self._name_length)
        return facts

    def _count(self, value: bytes) -> tuple[BatchFacts, set[str]]:
        document = _json(value)
        rows = document["data"]
        symbols = {row[self._symbol_field] for row in rows}
        feed = FeedKey(document["region"], document["exchange"], document["request_type"])
        efficiency = 1 / len(symbols) if symbols else 0.0
        return BatchFacts(feed, len(rows), len(symbols), efficiency, whole(document["timestamp_ms"])), symbols


def _json(value: bytes) -> Any:
    """Decode JSON; text that orjson refuses but the rules accept (huge numbers, wrong UTF-8) is decoded by `json`."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        text, _ = as_json(value.removeprefix(BOM))
        return json.loads(text.decode(errors="replace"), parse_int=_int)


def _int(digits: str) -> int | float:
    """Return the number of the digits, infinite when there are too many for Python."""
    return int(digits) if len(digits) < _DIGITS else float("inf")


class BatchEvent(NamedTuple):
    """The numbers of a batch event, and its record."""

    place: Partition
    offset: int
    facts: BatchFacts


class SummaryEvent(NamedTuple):
    """The whole numbers of a summary."""

    feed: FeedKey
    batches: int
    messages: int


class EventReader:
    """Reader of events in any of the three encodings, recognized by their first bytes."""

    def __init__(self) -> None:
        schemas = (_schema("batch_collected"), _schema("performance_summary"), _schema("error"))
        types = (EventType.BATCH, EventType.SUMMARY, EventType.ERROR)
        self._schemas = dict(zip(types, schemas, strict=True))
        self._types = {_fingerprint(schema): event_type for event_type, schema in self._schemas.items()}

    def read(self, value: bytes | None, headers: Headers | None) -> BatchEvent | SummaryEvent | None:
        """Return the event, None for an error event; raise UnreadableError for other bytes."""
        try:
            event = self._decoded(value or b"")
            if event["event_type"] == EventType.BATCH:
                return BatchEvent(*_place(headers), _facts(event))
            if event["event_type"] == EventType.SUMMARY:
                stats = event["aggregated_stats"]
                return SummaryEvent(_feed(event), _whole(stats["total_batches"]), _whole(stats["total_messages"]))
            return None
        except _NO_EVENT as error:
            raise UnreadableError(printable(f"not an event: {type(error).__name__}: {error}")) from None

    def _decoded(self, value: bytes) -> Mapping[str, Any]:
        if value.startswith(b"{"):
            event: Mapping[str, Any] = json.loads(value)
            EventType(event["event_type"])
            return event
        if value.startswith(_SINGLE_OBJECT):
            return self._avro(self._types.get(value[2:10]), value[10:])
        if value.startswith(_CONFLUENT):
            # The id needs a registry, but every event begins with its type.
            return self._avro(EventType(_read_avro(BytesIO(value[5:]), "string")), value[5:])
        raise UnreadableError("neither Avro with a known frame nor JSON")

    def _avro(self, event_type: EventType | None, body: bytes) -> Mapping[str, Any]:
        if event_type is None:
            raise UnreadableError("the fingerprint is of no known schema")
        stream = BytesIO(body)
        event: Mapping[str, Any] = _read_avro(stream, self._schemas[event_type])
        if stream.read(1):
            raise UnreadableError("bytes follow after the end of the event")
        if event["event_type"] != event_type:
            raise UnreadableError(f"event_type is {event['event_type']!r} in the schema of {event_type}")
        return event


def _read_avro(stream: BytesIO, schema: Any) -> Any:
    return fastavro.schemaless_reader(stream, schema, None)


def _schema(name: str) -> Any:
    text = resources.files("exporter.events").joinpath("schemas", f"{name}.avsc").read_text(encoding="utf-8")
    return parse_schema(json.loads(text))


def _fingerprint(schema: Any) -> bytes:
    """Return CRC-64-AVRO in the byte order of the single-object encoding, which is that of fastavro."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def _place(headers: Headers | None) -> tuple[Partition, int]:
    """Return the record that an event is about, from its `ce_id`: topic/partition/offset."""
    identity = dict(headers or ()).get("ce_id")
    if identity is None:
        raise UnreadableError("a batch event without ce_id")
    text = identity.decode() if isinstance(identity, bytes) else identity
    topic, partition, offset = text.rsplit("/", 2)
    return Partition(topic, int(partition)), int(offset)


def _facts(event: Mapping[str, Any]) -> BatchFacts:
    stats = event["stats"]
    efficiency = float(stats["cache_efficiency"])
    size, unique, stamp = (_whole(stats[name]) for name in ("batch_size", "unique_symbols", "collection_timestamp_ms"))
    return BatchFacts(_feed(event), size, unique, efficiency, stamp)


def _feed(event: Mapping[str, Any]) -> FeedKey:
    feed = FeedKey(event["region"], event["exchange"], event["request_type"])
    if not all(isinstance(value, str) for value in feed):
        raise UnreadableError(f"the feed is {feed}")
    return feed


def _whole(value: object) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise UnreadableError(f"{value!r} is not a whole number of 64 bits")
    return value


def add_metrics(text: str, truth: MetricsTruth) -> None:
    """Add the counters of one process (text format 0.0.4) to the sums; raise UnreadableError."""
    by_feed = {"marketdata_batches_total": truth.batches, "marketdata_messages_total": truth.messages}
    by_topic = {
        "marketdata_records_total": truth.records,
        "marketdata_records_rejected_total": truth.rejected,
    }
    try:
        for sample in samples(text):
            labels = sample.labels
            if sample.name in by_feed:
                feed = FeedKey(labels["region"], labels["exchange"], labels["request_type"])
                by_feed[sample.name][feed] += int(sample.value)
            elif sample.name == "marketdata_ingestion_events_total":
                truth.events[labels["event"]] += int(sample.value)
            elif sample.name in by_topic:
                by_topic[sample.name][labels["topic"]] += int(sample.value)
    except (ValueError, KeyError, OverflowError) as error:
        raise UnreadableError(printable(f"not metrics: {type(error).__name__}: {error}")) from None
    hidden = [name for name in by_feed if f"# TYPE {name} " not in text]
    if hidden and "# TYPE marketdata_" in text:
        raise UnreadableError(f"{' and '.join(hidden)} not shown, see metrics.families of the sidecar")
