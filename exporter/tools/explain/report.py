"""The text of `explain`: one record, field by field. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence

import msgspec

from exporter.config.secrets import shown_text
from exporter.decoding.batch import ELSEWHERE, MAX_TIMESTAMP_MS, Batch, Message, PartialBatch
from exporter.decoding.contents import has
from exporter.decoding.faults import UNREADABLE
from exporter.events.encoding import utc_text
from exporter.model import FeedKey, Record, Rejected
from exporter.runtime.foreign_text import printable
from exporter.tools.explain.candidate import TopicDecoder, topic_name
from exporter.tools.explain.next_step import next_step
from exporter.tools.explain.paths import paths, unread
from exporter.tools.explain.understanding import ROW_FIELDS, Recognised, Understanding, blindness
from exporter.tools.explain.zones import advice, local_times

VALUE_CHARACTERS = 60
LISTED = 40
_KEY_BYTES = 100
_Line = tuple[str, str, str]


def report(understood: Understanding, decoder: TopicDecoder, better: Recognised | None) -> str:
    """Return what a decoder makes of a record, and which other one reads it better."""
    lines = [("record", "", described(understood.record)), ("read as", "", decoder.name), _result(understood)]
    head = [f"{name:<9} {printable(text, 300)}" for name, _, text in lines]
    return "\n".join([*head, *_body(understood, decoder), *_proposal(understood, decoder, better)])


def described(record: Record) -> str:
    """Return where a record lies, and how large it is."""
    place = f"{record.partition}/{record.offset}, " if record.partition.topic else ""
    written = f"written {utc_text(record.timestamp_ms)}, " if record.timestamp_ms > 0 else ""
    size = "no value" if record.value is None else f"{len(record.value)} bytes"
    key = "" if record.key is None else f", key {record.key[:_KEY_BYTES].decode(errors='replace')}"
    headers = f", headers {' '.join(name for name, _ in record.headers)}" if record.headers else ""
    return f"{place}{written}{size}{key}{headers}"


def _result(understood: Understanding) -> _Line:
    if understood.batch is not None:
        without = _without([understood])
        return "accepted", "", f"{understood.feed}, messages: {len(understood.batch.data)}{without}"
    if understood.rejected is None:
        return "skipped", "", "a control message, no data"
    rejected = understood.rejected
    place = f", byte {rejected.position}" if rejected.position else ""
    feed = f", feed {rejected.feed}" if rejected.feed else ""
    return "rejected", "", f"{rejected.reason}: {rejected.detail}{place}{feed}"


def _without(understood: Sequence[Understanding]) -> str:
    blind = blindness(understood)
    return f", none with a {' or a '.join(blind)}" if blind else ""


def _body(understood: Understanding, decoder: TopicDecoder) -> Iterator[str]:
    fields = _fields(understood.record, decoder)
    if understood.batch is None and not fields:
        return
    yield ""
    if understood.batch is None:
        found = list(_expected(decoder, fields))
    else:
        found = [*_outer(understood.batch, decoder), *_rows(understood.batch, decoder)]
    yield from _table([("field", "from", "found"), *found])
    read = [path for source in decoder.sources.values() for path in source.paths]
    if others := [path for path in unread(fields, read) if path]:
        more = f" and {len(others) - LISTED} more" if len(others) > LISTED else ""
        named = [f"{printable(path)}: {shown_text(_shown(fields[path]), path)}" for path in others[:LISTED]]
        yield from ("", textwrap.fill(f"not read: {', '.join(named)}{more}", 120, subsequent_indent="  "))


def _fields(record: Record, decoder: TopicDecoder) -> dict[str, object]:
    try:
        return paths(decoder.content(record))
    except (*UNREADABLE, Rejected):
        return {}


def _expected(decoder: TopicDecoder, fields: dict[str, object]) -> Iterator[_Line]:
    """Yield whether a record that is no batch has what is read for each field."""
    for name, source in decoder.sources.items():
        there = [path for path in source.paths if any(each == path or not unread([each], [path]) for each in fields)]
        if not source.paths:
            yield name, source.text, "outside of the record"
        elif there:
            yield name, source.text, _shown(fields.get(there[0], ...))
        else:
            yield name, source.text, "missing"


def _outer(batch: Batch, decoder: TopicDecoder) -> Iterator[_Line]:
    for name in (*FeedKey._fields, "timestamp_ms", "batch_size"):
        value = getattr(batch, name)
        if name in decoder.sources:
            shown = _time(value) if name == "timestamp_ms" else "missing" if value is None else _shown(value)
            yield name, decoder.sources[name].text, shown
    if isinstance(batch, PartialBatch) and ELSEWHERE in batch.unreadable:
        yield ELSEWHERE, "", f"unreadable: {batch.unreadable[ELSEWHERE]}"


def _rows(batch: Batch, decoder: TopicDecoder) -> Iterator[_Line]:
    unreadable = batch.unreadable if isinstance(batch, PartialBatch) else {}
    for name in ("symbol", *ROW_FIELDS):
        if name in decoder.sources:
            yield name, decoder.sources[name].text, _column(name, batch.data, unreadable.get(name, 0))


def _column(name: str, rows: Sequence[Message], unreadable: int) -> str:
    """Return how many rows have a field, and its first value."""
    having = rows if name == "symbol" else [row for row in rows if has(row, name)]
    count = "" if len(having) == len(rows) else f"in {len(having)} of {len(rows)} messages, "
    broken = f"unreadable in {unreadable}; " if unreadable else ""
    if having:
        value = getattr(having[0], name)
        return f"{broken}{count}{_time(value) if name == 'timestamp' else _shown(value)}"
    odd = next((row.timestamp for row in rows if row.timestamp), None) if name == "timestamp" else None
    if odd is not None:
        return f"{broken}{_shown(odd)} is no Unix time in milliseconds"
    return broken.removesuffix("; ") or "missing"


def _time(value: float) -> str:
    return f"{value} ({utc_text(int(value))})" if 0 < value <= MAX_TIMESTAMP_MS else str(value)


def _shown(value: object) -> str:
    """Return the beginning of a value as JSON."""
    if value is ...:
        return "there"
    if isinstance(value, msgspec.Raw):
        return printable(bytes(value).decode(errors="replace"), VALUE_CHARACTERS)
    return printable(json.dumps(value, ensure_ascii=False, default=str), VALUE_CHARACTERS)


def _table(lines: Sequence[_Line]) -> Iterator[str]:
    first, second = (max(len(line[place]) for line in lines) for place in (0, 1))
    for name, source, found in lines:
        yield f"{name:<{first}}  {printable(source):<{second}}  {found}".rstrip()


def _proposal(understood: Understanding, decoder: TopicDecoder, better: Recognised | None) -> Iterator[str]:
    if better is not None:
        yield from (
            "",
            f"It is {better.candidate.decoder.name}{_without(better.understood)}. In the configuration:",
            "",
        )
        yield textwrap.indent(better.candidate.configuration, "    ")
        decoder = better.candidate.decoder
    if times := local_times(decoder, _fields(understood.record, decoder)):
        yield from ("", *advice(times, decoder, topic_name(understood.record.partition.topic)))
    elif better is None and understood.rejected is not None:
        yield from ("", "No known format reads it.")
        topic = topic_name(understood.record.partition.topic)
        yield from next_step(understood.record.value, topic, has_format=decoder.has_format)
