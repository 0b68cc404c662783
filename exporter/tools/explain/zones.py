"""Times without an offset from UTC in a record, and the keys of a format with which they are read. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from exporter.decoding.numbers import lacks_offset
from exporter.tools.explain.candidate import TopicDecoder

# The preset that reads the batch which needs no format, completed by a zone.
_USUAL = "kor-coin-stream-2025"


class LocalTime(NamedTuple):
    """A field of a record, or of a row, with such a time."""

    path: str
    text: str
    is_of_row: bool

    @property
    def value(self) -> str:
        """The key's value in YAML, with a zone as an example."""
        return f"{{field: {_name(self.path)}, unit: iso8601, zone: UTC}}"


def local_times(decoder: TopicDecoder, fields: Mapping[str, object]) -> list[LocalTime]:
    """Return the times that a decoder reads, have no offset, and are in no zone by its format."""
    return list(_local_times(decoder, fields))


def _local_times(decoder: TopicDecoder, fields: Mapping[str, object]) -> Iterator[LocalTime]:
    for name in ("timestamp_ms", "timestamp"):
        source = decoder.sources.get(name)
        for path in source.paths if source is not None and not source.has_zone else ():
            text = fields.get(path)
            if isinstance(text, str) and lacks_offset(text):
                yield LocalTime(path, text, name == "timestamp")


def advice(times: list[LocalTime], decoder: TopicDecoder, topic: str) -> Iterator[str]:
    """Yield the lines about such times; `topic` is as the configuration has it."""
    named = ", ".join(f"{each.path} {json.dumps(each.text)}" for each in times)
    yield f"No offset from UTC: {named}. In the format, with the IANA name of their zone:"
    yield ""
    if decoder.has_format:
        yield from (f"    {line}" for line in _keys(times, []))
    else:
        (symbol,) = decoder.sources["symbol"].paths
        yield from ("    input:", "      formats:", f"        - preset: {_USUAL}", f"          topics: {topic}")
        yield from (f"          {line}" for line in _keys(times, [f"symbol: {_name(symbol)}"]))


def _keys(times: list[LocalTime], row: list[str]) -> Iterator[str]:
    """Yield the keys of a format; `row` is what else its row has."""
    for each in times:
        if each.is_of_row:
            row = [*row, f"timestamp: {each.value}"]
        else:
            yield f"time: {each.value}"
    if row:
        yield f"row: {{{', '.join(row)}}}"


def _name(path: str) -> str:
    """Return the name of a field within its row, or the record, as YAML."""
    return json.dumps(path.rpartition("[].")[2], ensure_ascii=False)
