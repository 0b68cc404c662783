"""What to do about a record that no known format reads, by what it is. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from exporter.decoding.appearance import looks_like
from exporter.decoding.faults import UNREADABLE
from exporter.decoding.literals import BOM, blanked
from exporter.tools.explain.draft import draft

_PAGE = "docs/input-formats.md"
_COLLECTOR = "No encoding of input.formats reads it: let the collector write JSON, MessagePack or Avro."
_PACKED = "Values are not unpacked: let the producer compress batches instead (compression.type), which Kafka unpacks."
# By a word of what a value looks like.
_STEPS = {
    "JSON behind it": "JSON in this wire format is not read: let the collector write JSON without a schema, or Avro.",
    "Confluent": f"Avro in it is read with encoding: avro-confluent and its schema_registry ({_PAGE}).",
    "Avro single-object": f"It is read with encoding: avro-single-object and the files of its schemas ({_PAGE}).",
    "UTF-": "JSON is read in UTF-8 only: let the collector write that.",
    **dict.fromkeys(("gzip", "zlib", "bzip2", "xz", "zip", "zstd", "lz4", "snappy"), _PACKED),
}


def next_step(value: bytes | None, topic: str, *, has_format: bool) -> Iterator[str]:
    """Yield the lines of the advice; `topic` is as the configuration has it, `has_format` whether it has a format."""
    if not value:
        yield "It has no value, as marks of deletion in compacted topics: these are counted as rejected."
    elif (found := next(_contents(value), None)) is not None:
        yield from _described(*found, topic, has_format=has_format)
    elif _is_several(value):
        yield "It holds several JSON values, as NDJSON: let the collector write a list of them, or a record for each."
    elif looks := looks_like(value, 0):
        step = next((step for word, step in _STEPS.items() if word in looks), _COLLECTOR)
        yield f"It looks like {looks}. {step}"
    else:
        yield "It begins like JSON and is none, for the reason above: let the collector write whole, valid JSON."


def _contents(value: bytes) -> Iterator[tuple[object, str, str]]:
    """Yield what a value holds as JSON or MessagePack, the encoding and its name."""
    with suppress(*UNREADABLE):
        yield msgspec.json.decode(blanked(value.removeprefix(BOM))), "json", "JSON"
    if looks_like(value, 0) == "MessagePack":
        with suppress(*UNREADABLE):
            yield msgspec.msgpack.decode(value), "msgpack", "MessagePack"


def _described(content: object, encoding: str, what: str, topic: str, *, has_format: bool) -> Iterator[str]:
    if isinstance(content, str) and content.lstrip()[:1] in ("{", "["):
        yield "It is JSON inside of a JSON text, encoded twice: let the collector encode it once."
    elif not isinstance(content, dict | list):
        yield f"It is a single value in {what}, without names of fields. {_COLLECTOR}"
    elif has_format:
        yield f"It is {what}: compare its fields with those of its format ({_PAGE})."
    elif (text := draft(content, topic, encoding)) is None:
        yield f"It is an empty {'object' if isinstance(content, dict) else 'list'} in {what}: it has nothing to read."
    else:
        yield f"It is {what}. A format to begin with; replace words in capitals, and check zones ({_PAGE}):"
        yield from ("", text)


def _is_several(value: bytes) -> bool:
    """Return whether the first two lines are JSON, of objects or lists."""
    lines = [line for line in value.split(b"\n", 3)[:3] if line.strip()]
    with suppress(*UNREADABLE):
        found = [msgspec.json.decode(line) for line in lines[:2]]
        return len(found) == 2 and all(isinstance(one, dict | list) for one in found)
    return False
