"""Events as a consumer reads them, with nothing but the schemas that ship."""

import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import fastavro

from exporter.events.encoding import single_object_frame
from exporter.events.values import load_schema
from exporter.model import EventType
from tests.support.cluster import Record

MARKER_BYTES = 10
HEADERS = {"ce_specversion", "ce_source", "ce_type", "ce_id", "ce_time", "content-type"}


def read_event(record: Record) -> dict[str, Any]:
    """What an event in Avro's single-object encoding says; the mark before it tells the schema."""
    schema = _SCHEMAS[record.value[:MARKER_BYTES]]
    body = BytesIO(record.value[MARKER_BYTES:])
    event = fastavro.schemaless_reader(body, schema, None)
    assert isinstance(event, dict)
    assert not body.read(), "there is something behind the event"
    return event


def read_framed(record: Record, schemas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What an event in Confluent's wire format says; the ids count `schemas` from 1."""
    zero, number = struct.unpack(">bI", record.value[:5])
    assert zero == 0
    event = fastavro.schemaless_reader(BytesIO(record.value[5:]), schemas[number - 1], None)
    assert isinstance(event, dict)
    return event


_SCHEMAS = {single_object_frame(schema): schema for schema in map(load_schema, EventType)}
