"""Avro bodies: in Confluent's wire format, with the id of a schema, and in the single-object encoding. Pure."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, fingerprint, to_parsing_canonical_form

from exporter.model import Reason, Rejected

# What fastavro raises over schemas that are none, and over bytes that are of another schema.
_NO_SCHEMA = (SchemaParseException, ValueError, LookupError, TypeError, AttributeError, RecursionError)
_NO_AVRO = (
    *(ValueError, LookupError, TypeError, EOFError, ArithmeticError, MemoryError, RecursionError),
    *(AttributeError, struct.error),
)
CONFLUENT_BYTES = 5
_SINGLE_OBJECT, _SINGLE_OBJECT_BYTES = b"\xc3\x01", 10
# Times stay the numbers that they are, in the unit that the format names.
_KEPT_TYPES = ("decimal",)
Schema = Any


def parsed(text: str, named: dict[str, Schema] | None = None) -> Schema:
    """Return a schema to read with; raise `ValueError` for a text that is none, or refers to unknown types.

    `named` has the types of other schemas that it may refer to, and gets its own.
    """
    try:
        return fastavro.parse_schema(_plain(json.loads(text)), {} if named is None else named)
    except _NO_SCHEMA as error:
        raise ValueError(f"it is no Avro schema: {str(error)[:80]}") from None


def _plain(schema: Any) -> Any:
    """Return a schema without the logical types that make objects of numbers."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _plain(inner) for name, inner in schema.items()}
    if kept.get("logicalType") not in _KEPT_TYPES:
        kept.pop("logicalType", None)
    return kept


def schema_id(value: bytes | None) -> int | None:
    """Return the id in Confluent's wire format; None for a value without one."""
    if value is None or len(value) < CONFLUENT_BYTES or value[0] != 0:
        return None
    return int.from_bytes(value[1:CONFLUENT_BYTES])


def confluent(find: Callable[[int], Schema]) -> Callable[[bytes], Any]:
    """Return what reads Confluent's wire format; `find` returns the schema of an id, or raises `Rejected`."""

    def read(value: bytes) -> Any:
        number = schema_id(value)
        if number is None:
            raise Rejected(Reason.INVALID_ENCODING, "no Avro in Confluent's wire format: it begins with a zero byte")
        return _read(value, CONFLUENT_BYTES, find(number), f"schema {number}")

    return read


def single_object(schemas: Iterable[str]) -> Callable[[bytes], Any]:
    """Return what reads the single-object encoding with one of some schemas, given as texts; may raise `ValueError`."""
    known: Mapping[bytes, Schema] = {_frame(text): parsed(text) for text in schemas}

    def read(value: bytes) -> Any:
        frame = value[:_SINGLE_OBJECT_BYTES]
        if not frame.startswith(_SINGLE_OBJECT):
            raise Rejected(Reason.INVALID_ENCODING, "no Avro in the single-object encoding: it begins with C3 01")
        schema = known.get(frame)
        if schema is None:
            raise Rejected(Reason.INVALID_ENCODING, f"no schema has the fingerprint {frame[2:].hex()}")
        return _read(value, _SINGLE_OBJECT_BYTES, schema, "its schema")

    return read


def _frame(text: str) -> bytes:
    """Return the bytes before a body: a mark, and the fingerprint of the schema as it is written."""
    try:
        canonical = to_parsing_canonical_form(fastavro.parse_schema(json.loads(text)))
    except _NO_SCHEMA as error:
        raise ValueError(f"it is no Avro schema: {str(error)[:80]}") from None
    return _SINGLE_OBJECT + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def _read(value: bytes, start: int, schema: Schema, name: str) -> Any:
    stream = BytesIO(value)
    stream.seek(start)
    try:
        found = fastavro.schemaless_reader(stream, schema, None)
    except UnicodeDecodeError:
        raise
    except _NO_AVRO as error:
        position = stream.tell()
        detail = f"no Avro of {name}: {type(error).__name__} at byte {position}"
        raise Rejected(Reason.INVALID_ENCODING, detail) from None
    end = stream.tell()
    if end != len(value):
        detail = f"no Avro of {name}: it ends at byte {end}, and {len(value) - end} bytes follow"
        raise Rejected(Reason.INVALID_ENCODING, detail)
    return found
