"""What does not go together in `input.formats`: what is wrong, and the path of the key within the format. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from exporter.config import registry_token
from exporter.config.display import shown
from exporter.config.format_schema import FormatConfig, StampValue, TextSource, TimeFormat, Value
from exporter.config.format_text import LIST, json_path
from exporter.config.named_pattern import NamedPattern
from exporter.config.parsers import credentials
from exporter.config.subscription import is_pattern
from exporter.config.tls_files import contradictions, unusable

Mistake = tuple[str, str]
_SOURCES = ("constant", "topic", "key", "header", "field")
_TEXT, _NUMBER, _LEVELS, _ROWS = "text", "a number", "levels of an order book", "rows"
_ONE_OF = "a constant, or one of topic, key, header and field"


class _Use(NamedTuple):
    """A field that a key reads, and as what."""

    key: str
    path: str
    kind: str


def mistakes(one: FormatConfig, read_file: Callable[[str], str]) -> Iterator[Mistake]:
    """Yield each contradiction in a format, and each file of a schema that is none."""
    for key, source in _texts(one):
        yield from _source(one, key, source)
    yield from _skip(one)
    yield from _time(one)
    yield from _encoding(one, read_file)
    yield from _schemas(one, read_file)
    yield from _rows(one)
    outer, inner = list(_record_uses(one)), list(_row_uses(one))
    if one.has_rows:
        yield from _scope(outer, ())
        yield from _scope(inner, one.array)
    else:
        yield from _scope(outer + inner, one.array)


def _texts(one: FormatConfig) -> Iterator[tuple[str, TextSource]]:
    yield from ((f"feed.{word}", getattr(one.feed, word)) for word in one.feed.__struct_fields__)
    yield "row.symbol", one.row.symbol


def _source(one: FormatConfig, key: str, source: TextSource) -> Iterator[Mistake]:
    given = [name for name in _SOURCES if getattr(source, name) is not None]
    if len(given) != 1:
        got = " and ".join(given) if given else "none of them"
        yield f"got {got}, expected {_ONE_OF}", key
    if source.topic is None:
        return
    for topic in one.topics:
        names = list(NamedPattern(topic).names) if is_pattern(topic) else []
        if source.topic not in names:
            known = f", expected one of {', '.join(names)}" if names else ""
            yield f"got {shown(source.topic)}, which is no group of {shown(topic)}{known}", f"{key}.topic"


def _skip(one: FormatConfig) -> Iterator[Mistake]:
    for path in one.skip:
        try:
            json_path(path)
        except ValueError as error:
            yield f"got {shown(path)}, expected a field: {error}", "skip"


def _time(one: FormatConfig) -> Iterator[Mistake]:
    given = [name for name in ("field", "kafka", "row") if getattr(one.time, name)]
    if len(given) > 1:
        yield f"got {' and '.join(given)}, expected one of them", "time"
    if one.time.row is not None and one.row.timestamp is None:
        yield "the rows have no timestamp, expected row.timestamp beside it", "time.row"
    if one.time.zone is not None and one.time.field is None:
        yield "goes with a field", "time.zone"
    for key, value in (("time", one.time), ("row.timestamp", one.row.timestamp)):
        if value is not None and value.zone is not None and value.unit != "iso8601":
            yield f"goes with unit iso8601, got unit {value.unit}", f"{key}.zone"


def _encoding(one: FormatConfig, read_file: Callable[[str], str]) -> Iterator[Mistake]:
    for key, encoding in (("schema_registry", "avro-confluent"), ("schemas", "avro-single-object")):
        has, needs = bool(getattr(one, key)), one.encoding == encoding
        if needs and not has:
            yield f"missing, expected with encoding {encoding}", key
        if has and not needs:
            yield f"goes with encoding {encoding}, expected none with encoding {one.encoding}", key
    if one.schema_registry is not None:
        tls = one.schema_registry.tls
        for message, key in (*contradictions(tls, one.schema_registry.url), *unusable(tls, read_file)):
            yield message, f"schema_registry.tls.{key}"
        given = {name: getattr(one.schema_registry, name) for name in one.schema_registry.__struct_fields__}
        for message, key in registry_token.contradictions(one.schema_registry.url, given):
            yield message, f"schema_registry.{key}"
        known = credentials(one.schema_registry.url)
        for name in ("username", "password"):
            if getattr(one.schema_registry, name) is not None and name in known:
                yield "stands in the url, too, expected one of the two", f"schema_registry.{name}"


def _schemas(one: FormatConfig, read_file: Callable[[str], str]) -> Iterator[Mistake]:
    if not one.schemas:
        return
    # Loaded when it is needed: it takes 5 MB.
    from fastavro.schema import SchemaParseException, parse_schema

    for number, path in enumerate(one.schemas):
        try:
            parse_schema(json.loads(read_file(path)))
        except OSError as error:
            yield f"got {shown(path)}, which cannot be read: {error.strerror or error}", f"schemas[{number}]"
        except (SchemaParseException, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            yield f"got {shown(path)}, which is no Avro schema in JSON", f"schemas[{number}]"


def _rows(one: FormatConfig) -> Iterator[Mistake]:
    if one.text_rows and not (one.has_rows and one.encoding == "json"):
        yield "goes with rows and encoding json", "text_rows"
    if one.batch_size is not None and not one.has_rows:
        yield "a record that is one row has no size, expected rows beside it", "batch_size"
    if len(set(one.array)) < len(one.array):
        yield "got a name twice", "array"
    if one.rows == LIST:
        yield from ((f"a record that is a list has no field {use.path}", use.key) for use in _record_fields(one))


def _record_uses(one: FormatConfig) -> Iterator[_Use]:
    yield from _record_fields(one)
    if one.rows is not None and one.rows != LIST:
        yield _Use("rows", one.rows, _ROWS)


def _record_fields(one: FormatConfig) -> Iterator[_Use]:
    for key, source in _texts(one):
        if key != "row.symbol":
            yield from (_Use(f"{key}.field", path, _TEXT) for path in source.field or ())
    yield from (_Use("time.field", path, _stamp(one.time)) for path in one.time.field or ())
    yield from (_Use(f"skip.{path}", path, _TEXT) for path in one.skip)
    if one.batch_size is not None:
        yield _Use("batch_size", one.batch_size, _NUMBER)


def _row_uses(one: FormatConfig) -> Iterator[_Use]:
    yield from (_Use("row.symbol.field", path, _TEXT) for path in one.row.symbol.field or ())
    for name in one.row.__struct_fields__:
        value = getattr(one.row, name)
        if isinstance(value, Value):
            kind = _LEVELS if name in ("asks", "bids", "units") else _NUMBER
            kind = _stamp(value) if isinstance(value, StampValue) else kind
            yield from (_Use(f"row.{name}.field", path, kind) for path in value.field)


def _stamp(of: StampValue | TimeFormat) -> str:
    if of.unit != "iso8601":
        return _NUMBER
    return "a time" if of.zone is None else f"a time in {of.zone}"


def _scope(uses: list[_Use], array: tuple[str, ...]) -> Iterator[Mistake]:
    """Yield fields that are read as two things, and names that no position of an array has."""
    first: dict[str, _Use] = {}
    for use in uses:
        if use.path == LIST:
            yield "only rows can be the record itself", use.key
        if array and use.path not in array:
            yield f"got {shown(use.path)}, expected one of the names in array", use.key
        other = first.setdefault(use.path, use)
        if other.kind != use.kind:
            yield f"got {shown(use.path)}, which {other.key} reads as {other.kind}", use.key
        outer = next((one for one in uses if use.path.startswith(f"{one.path}.")), None)
        if outer is not None:
            yield f"got {shown(use.path)}, but {outer.key} reads {shown(outer.path)} as {outer.kind}", use.key
