"""The encodings of the events of an ingesting service: Avro and JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import fastavro
import msgspec

from exporter.decoding.formats.avro import Schema, confluent, single_object
from exporter.events.encoding import single_object_frame
from exporter.events.values import load_schema
from exporter.ingestion.events import EVENTS, Event, NoEvent, check, topic_of
from exporter.model import Reason, Rejected

SCHEMAS: Mapping[str, dict[str, Any]] = {topic: load_schema(topic) for topic in EVENTS}
_PARSED = {topic: fastavro.parse_schema(schema) for topic, schema in SCHEMAS.items()}
_FRAMES = {topic: single_object_frame(schema) for topic, schema in SCHEMAS.items()}
_READ_SINGLE_OBJECT = {topic: single_object([json.dumps(schema)]) for topic, schema in SCHEMAS.items()}


def avro_body(event: Event) -> bytes:
    """Return an event in Avro binary, without a frame."""
    body = BytesIO()
    fastavro.schemaless_writer(body, _PARSED[topic_of(event)], msgspec.structs.asdict(event))
    return body.getvalue()


def encode_avro(event: Event) -> bytes:
    """Return an event in Avro's single-object encoding."""
    return _FRAMES[topic_of(event)] + avro_body(event)


def encode_json(event: Event) -> bytes:
    """Return an event as JSON."""
    return msgspec.json.encode(event)


def decode(topic: str, value: bytes | None, find: Callable[[int], Schema] | None = None) -> Event:
    """Return the event in a record of a topic: Avro or JSON, recognized by its first byte.

    `find` returns the schema of an id of a registry, for Confluent's wire format. Raises `NoEvent` for what is no event
    of the topic.
    """
    if not value:
        raise NoEvent(Reason.EMPTY, f"{topic}: the record is empty")
    if topic not in EVENTS:
        return check(topic, {})
    try:
        return check(topic, _fields(topic, value, find))
    except Rejected as rejected:
        raise NoEvent(rejected.reason, f"{topic}: {rejected.detail}") from None
    except UnicodeDecodeError:
        raise NoEvent(Reason.INVALID_UTF8, f"{topic}: a text is no UTF-8") from None


def _fields(topic: str, value: bytes, find: Callable[[int], Schema] | None) -> Any:
    if value[0] == 0:
        if find is None:
            text = f"{topic}: the record is in Confluent's wire format, and there is no schema registry"
            raise NoEvent(Reason.INVALID_ENCODING, text)
        return confluent(find)(value)
    if value[0] == _FRAMES[topic][0]:
        return _READ_SINGLE_OBJECT[topic](value)
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise NoEvent(Reason.INVALID_JSON, f"{topic}: neither Avro nor JSON: {error}") from None
