"""Frames name schemas as their specifications define, and schemas change only in compatible ways."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from exporter.events.encoding import AvroEncoder, confluent_frame, single_object_frame
from exporter.events.values import batch_value, error_value, load_schema, summary_value
from exporter.feeds.feed import Window
from exporter.ingestion.encodings import encode_avro
from exporter.ingestion.events import EVENTS, check
from exporter.model import BatchResult, EventType, FeedKey, RiskEventType
from tests.support.ingestion import EXAMPLES
from tests.support.risk import NEWS

INGESTION = tuple(EVENTS)
KINDS = (*EventType, *RiskEventType, *INGESTION)
FROZEN = Path(__file__).parent / "data" / "schemas"
NOW = "2025-10-13T08:10:00.123Z"
KEY = FeedKey("korea", "upbit", "ticker")
VALUES: dict[str, dict[str, Any]] = {
    EventType.BATCH: batch_value(KEY, BatchResult(150, 25, 0.04, 1_760_031_213_693), NOW),
    EventType.SUMMARY: summary_value(KEY, Window(), 60.0, 60, NOW),
    EventType.ERROR: error_value(
        "invalid_json", "bad", NOW, topic="a", partition=1, offset=2, excerpt="{", suppressed=3
    ),
    **NEWS,
    **EXAMPLES,
}


def body_of(kind: str) -> bytes:
    """The event as it is written now, without the frame before it."""
    if kind in EVENTS:
        return encode_avro(check(kind, EXAMPLES[kind]))[10:]
    encoder: AvroEncoder = AvroEncoder((*EventType, *RiskEventType))
    return encoder.encode(next(each for each in (*EventType, *RiskEventType) if each == kind), VALUES[kind])


def crc_64_avro(data: bytes) -> int:
    """The fingerprint as the Avro specification defines it, bit by bit."""
    empty = 0xC15D213AA4D7A795
    found = empty
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = (found >> 1) ^ (empty if found & 1 else 0)
    return found


def canonical(schema: Any, namespace: str = "") -> Any:
    """The schema without what does not matter to a reader, names spelled in full."""
    if isinstance(schema, list):
        return [canonical(branch, namespace) for branch in schema]
    if isinstance(schema, str):
        return schema
    if schema["type"] == "array":
        return {"type": "array", "items": canonical(schema["items"], namespace)}
    namespace = schema.get("namespace", namespace)
    fields = [{"name": field["name"], "type": canonical(field["type"], namespace)} for field in schema["fields"]]
    return {"name": f"{namespace}.{schema['name']}", "type": "record", "fields": fields}


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [("null", 0x63DD24E7CC258F8A), ("int", 0x7275D51A3F395C8F), ("string", 0x8F014872634503C7)],
)
def test_frames_have_the_fingerprints_that_avro_publishes(name: str, fingerprint: int) -> None:
    assert crc_64_avro(f'"{name}"'.encode()) == fingerprint
    assert single_object_frame({"type": name}) == b"\xc3\x01" + fingerprint.to_bytes(8, "little")


@pytest.mark.parametrize("kind", KINDS)
def test_the_frame_of_an_event_names_its_schema(kind: str) -> None:
    text = json.dumps(canonical(load_schema(kind)), separators=(",", ":"))
    assert single_object_frame(load_schema(kind)) == b"\xc3\x01" + crc_64_avro(text.encode()).to_bytes(8, "little")


def test_the_frame_of_a_registry_is_zero_and_the_id() -> None:
    assert confluent_frame(0x01020304) == b"\x00\x01\x02\x03\x04"


def frozen(kind: str) -> dict[str, Any]:
    """The schema as it was first published; the file is never changed."""
    schema: dict[str, Any] = json.loads((FROZEN / f"{kind}.avsc").read_text())
    return schema


@pytest.mark.parametrize("kind", KINDS)
def test_readers_of_the_first_schema_can_read_events_written_now(kind: str) -> None:
    read = fastavro.schemaless_reader(BytesIO(body_of(kind)), load_schema(kind), frozen(kind))
    assert read == narrowed(VALUES[kind], frozen(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_events_written_with_the_first_schema_can_be_read_now(kind: str) -> None:
    value, body = narrowed(VALUES[kind], frozen(kind)), BytesIO()
    fastavro.schemaless_writer(body, frozen(kind), value, strict=True)
    body.seek(0)
    read = fastavro.schemaless_reader(body, frozen(kind), load_schema(kind))
    assert isinstance(read, dict)
    assert narrowed(read, frozen(kind)) == value


def narrowed(value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The value without the fields that the schema does not have."""
    kinds = {field["name"]: field["type"] for field in schema["fields"]}
    return {
        name: narrowed(value[name], kind) if isinstance(value[name], dict) else value[name]
        for name, kind in kinds.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_only_gain_fields_with_defaults(kind: str) -> None:
    assert list(changes(frozen(kind), load_schema(kind))) == []


def changes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """What a reader of the old schema could trip over."""
    before, now = ({field["name"]: field for field in schema["fields"]} for schema in (old, new))
    yield from (f"{name} is gone" for name in before.keys() - now.keys())
    yield from (f"{name} has no default" for name in now.keys() - before.keys() if "default" not in now[name])
    for name in before.keys() & now.keys():
        kinds = before[name]["type"], now[name]["type"]
        if all(isinstance(kind, dict) and "fields" in kind for kind in kinds):
            yield from changes(*kinds)
        elif canonical(kinds[0]) != canonical(kinds[1]):
            yield f"{name} has another type"
        if "default" in before[name] and before[name]["default"] != now[name].get("default"):
            yield f"{name} has another default"
