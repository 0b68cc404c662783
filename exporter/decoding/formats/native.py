"""Reads records of a format by the native core, if it can state the format to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from exporter.decoding.batch import LEVELS
from exporter.decoding.formats.layout import Layout
from exporter.decoding.formats.units import ISO_8601
from exporter.decoding.native_decoder import factories
from exporter.model import Rejected

if TYPE_CHECKING:
    from exporter.config.schema import Limits
    from exporter.decoding.batch import Batch
    from exporter.decoding.formats.texts import Groups, Text
    from exporter.model import Record


class Word(NamedTuple):
    """A text: always the same, the number of one that stands in no field, or the slots of its fields."""

    constant: str | None
    outside: int | None
    slots: list[int]
    default: str | None
    map: Mapping[str, str]
    case: str | None


class Named(NamedTuple):
    """A field by name and the slots that may have it; a time has a unit."""

    name: str
    slots: list[int]
    only: list[str]
    unit: str


class Stated(NamedTuple):
    """A format as the native core takes it: slots are places in `outer`, or in `inner` where there are rows."""

    outer: list[tuple[str, str]]
    outer_array: Sequence[str]
    inner: list[tuple[str, str]]
    array: Sequence[str]
    allows_text: bool
    is_list: bool
    has_rows: bool
    region: Word
    exchange: Word
    request_type: Word
    symbol: Word
    values: list[Named]
    skip: list[tuple[int, list[str]]]
    time: Named | None
    newest: bool
    batch_size: int | None


class NativeFormat:
    """Reads what the native core takes of one format, under limits."""

    def __init__(self, core: Any, layout: Layout, limits: Limits) -> None:
        self._outside = [text for text in _texts(layout) if text.is_outside and text.constant is None]
        bounds = (limits.record_bytes, limits.messages, limits.depth)
        self._reader = core.FormatReader(_stated(layout, self._outside), *bounds, factories(core))

    def read(self, record: Record, groups: Groups) -> Batch | None:
        """Return the batch of a record that is plainly valid, None for any other; see FormatReader."""
        if not record.value:
            return None
        try:
            outside = [text.outside(record, groups) for text in self._outside]
        except Rejected:  # the reference may find another reason first
            return None
        batch: Batch | None = self._reader.read(record.value, record.timestamp_ms, outside)
        return batch


def native_format(core: Any, layout: Layout, limits: Limits) -> NativeFormat | None:
    """Return what reads a format by the native core; None without one, and for formats that it does not know."""
    config = layout.config
    if core is None or config.encoding != "json" or config.text_rows:
        return None
    try:
        return NativeFormat(core, layout, limits)
    except _Ambiguous:
        return None


class _Ambiguous(ValueError):
    """A field is read as two things."""


class _Slots:
    """The fields of one scope: each path has one slot."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}

    def places(self, paths: Sequence[str], kind: str) -> list[int]:
        """Return the slots of some fields."""
        if any(self.kinds.setdefault(path, kind) != kind for path in paths):
            raise _Ambiguous
        return [list(self.kinds).index(path) for path in paths]


def _texts(layout: Layout) -> list[Text]:
    return [*layout.feed, layout.symbol]


def _stated(layout: Layout, outside: list[Text]) -> Stated:
    config, outer = layout.config, _Slots()
    inner = _Slots() if config.has_rows else outer
    feed = [_word(text, outside, outer, layout.skip) for text in layout.feed]
    symbol = _word(layout.symbol, outside, inner, ())
    values = []
    for value in layout.values:
        unit = config.row.timestamp.unit if value.name == "timestamp" and config.row.timestamp else "ms"
        slots = inner.places(value.paths, _kind(value.name, unit))
        values.append(Named(value.name, slots, sorted(value.only), unit))
    time = outer.places(layout.time_paths, _kind("timestamp", config.time.unit))
    skip = [(outer.places([path], "text")[0], sorted(wanted)) for path, wanted in layout.skip.items()]
    size = outer.places([config.batch_size], "stamp")[0] if config.batch_size else None
    if config.has_rows and not layout.is_list:
        outer.places([config.rows or ""], "rows")
    return Stated(
        outer=list(outer.kinds.items()),
        outer_array=layout.outer_array,
        inner=list(inner.kinds.items()) if config.has_rows else [],
        array=config.array if config.has_rows else (),
        allows_text=config.numbers == "text",
        is_list=layout.is_list,
        has_rows=config.has_rows,
        region=feed[0],
        exchange=feed[1],
        request_type=feed[2],
        symbol=symbol,
        values=values,
        skip=skip,
        time=Named("time", time, [], config.time.unit) if time else None,
        newest=config.time.row is not None,
        batch_size=size,
    )


def _word(text: Text, outside: list[Text], slots: _Slots, skip: Sequence[str] | Mapping[str, object]) -> Word:
    places = slots.places(text.paths, "text")
    number = outside.index(text) if text in outside else None
    # What a control message is recognized by is looked at by the reference where it is not a text.
    default = None if any(path in skip for path in text.paths) else text.default
    return Word(text.constant, number, places, default, text.map, text.case)


def _kind(name: str, unit: str) -> str:
    if name == "timestamp":
        return "time" if unit == ISO_8601 else "stamp"
    if name in LEVELS:
        return "levels"
    return "number"
