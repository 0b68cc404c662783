"""Records in which all is as it should be, read in one go: types made for the format, and no look at any value. Pure.

Whatever is not as it should be raises what is in `UNREADABLE`; then the record is read again with care.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET, Raw

from exporter.decoding.batch import MAX_TIMESTAMP_MS, NO_JSON, Batch, Message
from exporter.decoding.faults import too_many_messages
from exporter.decoding.formats.direct import direct_rows
from exporter.decoding.formats.layout import Layout
from exporter.decoding.formats.scope import NUMBER, SCALAR, TEXT, WHOLE, Kind, Scope
from exporter.decoding.formats.units import slot, whole

if TYPE_CHECKING:
    from exporter.decoding.formats.bodies import Body
    from exporter.decoding.formats.texts import Groups, Text
    from exporter.model import Record


# No bytes, and null in JSON and MessagePack.
_NOTHING = (b"", b"null", b"\xc0")


class _Irregular(ValueError):
    """Something is missing, or does not fit the format: the record has to be read with care."""


class _Step(NamedTuple):
    """Takes the first of some slots into a field of a row."""

    target: int
    first: int
    others: tuple[int, ...]
    convert: Callable[[Any], Any] | None


class _Word(NamedTuple):
    """A word of a feed and the slots that may have it: what it always is, or the only slot, which has it as it is."""

    text: Text
    places: list[int]
    constant: str | None
    plain: int | None


class _Slots:
    """The slots of one scope in order, all read in one go."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._slots: dict[str, Any] = {}  # and what each holds when there is nothing

    def place(self, path: str, kind: Kind | None = None) -> int:
        """Return where the value of a path is in what is read; without a kind it is kept unread."""
        slot = self.scope.add_unread(path) if kind is None else self.scope.add(path, kind)
        self._slots.setdefault(slot, NO_JSON if kind is None else kind.default)
        return list(self._slots).index(slot)

    def getter(self) -> Callable[[Any], Sequence[Any]]:
        """Return what reads all slots of an object."""
        if not self._slots:
            return lambda fields: ()
        # Of one slot an attrgetter gives the bare value.
        slots = list(self._slots)
        at_once, one_by_one = attrgetter(*slots, *slots[: len(slots) == 1]), _one_by_one(dict(self._slots))

        def read(fields: Any) -> Sequence[Any]:
            try:
                found: Sequence[Any] = at_once(fields)
                return found
            except AttributeError:
                return one_by_one(fields)

        return read if any("." in slot for slot in slots) else at_once


class Fast:
    """Reads records of one format at most `messages` rows long."""

    def __init__(self, layout: Layout, body: Body, messages: int) -> None:
        self._layout, self._body, self._messages = layout, body, messages
        config = layout.config
        outer = _Slots(Scope(body.unread, layout.outer_array))
        inner = _Slots(Scope(body.unread, config.array)) if config.has_rows else outer
        self._feed = [_word(layout, text, [outer.place(path, TEXT) for path in text.paths]) for text in layout.feed]
        self._symbol = [inner.place(path, TEXT) for path in layout.symbol.paths]
        self._skip = [(path, outer.place(path, SCALAR)) for path in layout.skip]
        strict = config.numbers == "strict"
        stamp, self._time_of = slot(config.time.unit, config.time.zone, strict=strict)
        self._time = [outer.place(path, stamp) for path in layout.time_paths]
        self._size = outer.place(config.batch_size, WHOLE) if config.batch_size else None
        steps = [(value, self._step(inner, value)) for value in layout.values]
        types = frozenset[str]().union(*(value.only for value in layout.values))
        # Of request types that no field is limited to, all have the same steps.
        self._plan = [step for value, step in steps if not value.only]
        self._plans = {name: [step for value, step in steps if value.is_for(name)] for name in types}
        self._direct = direct_rows(layout, body)
        self._rows: Callable[[Any, Sequence[Any]], list[Any]] | None = None
        if config.has_rows:
            self._decode, self._rows = self._with_rows(outer, inner, strict=strict)
        else:
            self._decode = body.decoder(outer.scope.struct(), strict=strict)
        self._outer, self._inner = outer.getter(), inner.getter()

    def _step(self, slots: _Slots, value: Any) -> _Step:
        config = self._layout.config
        stamp = config.row.timestamp
        kind: Kind | None = NUMBER
        convert: Callable[[Any], Any] | None = None
        if value.name == "timestamp" and stamp is not None:
            kind, convert = slot(stamp.unit, stamp.zone, strict=config.numbers == "strict")
        elif value.is_levels:
            kind, convert = None, self._body.as_units if value.name == "units" else self._body.as_levels
        first, *others = (slots.place(path, kind) for path in value.paths)
        return _Step(value.target, first, tuple(others), convert)

    def _with_rows(
        self, outer: _Slots, inner: _Slots, *, strict: bool
    ) -> tuple[Callable[[bytes], Any], Callable[[Any, Sequence[Any]], list[Any]]]:
        """Return what reads a record, and what finds its rows."""
        config, row = self._layout.config, inner.scope.struct() if self._direct is None else self._direct.type
        kind = str if config.text_rows else row
        decode_row = self._body.decoder(row, strict=strict)
        if self._layout.is_list:
            decode = self._body.decoder(list[kind], strict=strict)  # type: ignore[valid-type]
            return decode, lambda fields, values: self._read_texts(fields, decode_row)
        place = outer.place(config.rows or "", Kind(list[kind], UNSET))  # type: ignore[valid-type]
        decode = self._body.decoder(outer.scope.struct(), strict=strict)
        return decode, lambda fields, values: self._read_texts(values[place], decode_row)

    def _read_texts(self, rows: Any, decode_row: Callable[[bytes], Any]) -> list[Any]:
        if rows.__class__ is not list:
            raise _Irregular
        if len(rows) > self._messages:
            raise too_many_messages(len(rows), self._messages)
        if not self._layout.config.text_rows:
            found: list[Any] = rows
            return found
        texts = [row.encode() for row in rows]
        for text in texts:
            self._body.check(text, 1)
        return [decode_row(text) for text in texts]

    def read(self, value: bytes, record: Record, groups: Groups) -> Batch | None:
        """Return the batch of a record, None for a control message; raise `Rejected` or what is in `UNREADABLE`."""
        fields = self._decode(value)
        values = self._outer(fields) if not self._layout.is_list else ()
        for path, place in self._skip:
            if values[place] is not UNSET and self._layout.is_skipped(path, values[place]):
                return None
        region, exchange, request_type = [
            constant or (plain is not None and values[plain]) or self._text(text, places, values, record, groups)
            for text, places, constant, plain in self._feed
        ]
        plan = self._plans.get(request_type, self._plan)
        symbol = self._layout.symbol
        outside = symbol.outside(record, groups) if symbol.is_outside else None
        if self._rows is None:
            rows = [self._row(values, outside, plan)]
        elif self._direct is not None:
            rows = self._rows(fields, values)
            if self._direct.finish is not None:
                self._direct.finish(rows)
        else:
            inner = self._inner
            rows = [self._row(inner(row), outside, plan) for row in self._rows(fields, values)]
        size = None if self._size is None else values[self._size]
        return Batch(exchange, region, request_type, self._time_ms(values, rows, record), rows, size)

    @staticmethod
    def _text(text: Text, places: list[int], values: Sequence[Any], record: Record, groups: Groups) -> str:
        if not places:
            return text.outside(record, groups)
        found = text.among([values[place] for place in places])
        if found:
            return found
        if text.default is None or any(values[place] is not None for place in places):
            raise _Irregular
        return text.default

    def _row(self, values: Sequence[Any], symbol: str | None, plan: list[_Step]) -> Message:
        if symbol is None:
            if not self._symbol:
                raise _Irregular
            symbol = values[self._symbol[0]]
            if symbol.__class__ is not str or not self._layout.symbol.is_plain:
                symbol = self._layout.symbol.among([values[place] for place in self._symbol])
                if symbol is None:
                    raise _Irregular
        fields: list[Any] = [symbol, 0, None, None, None, None, NO_JSON, NO_JSON, NO_JSON]
        for target, first, others, convert in plan:
            value = values[first]
            if others:
                value = _first(values, first, others)
            fields[target] = value if convert is None else convert(value)
        return Message(*fields)

    def _time_ms(self, values: Sequence[Any], rows: list[Message], record: Record) -> int:
        if self._time:
            found = _first(values, self._time[0], tuple(self._time[1:]))
            time_ms = found if self._time_of is None else self._time_of(found)
            if not time_ms or not 0 <= time_ms <= MAX_TIMESTAMP_MS:
                raise _Irregular
            return whole(time_ms)
        return kafka_or_newest(self._layout, rows, record)


def _word(layout: Layout, text: Text, places: list[int]) -> _Word:
    # The slot of a field by which control messages are recognized may hold any scalar.
    is_plain = len(places) == 1 and text.is_plain and text.paths[0] not in layout.skip
    return _Word(text, places, text.constant, places[0] if is_plain else None)


def kafka_or_newest(layout: Layout, rows: list[Message], record: Record) -> int:
    """Return the time of a batch without one of its own, in Unix milliseconds."""
    if layout.config.time.row is not None:
        newest = max((row.timestamp for row in rows if row.timestamp), default=0)
        if 0 < newest <= MAX_TIMESTAMP_MS:
            return int(newest)
    return max(record.timestamp_ms, 0)


def _first(values: Sequence[Any], first: int, others: tuple[int, ...]) -> Any:
    """Return the first value that is there, or what the last one has instead."""
    value = values[first]
    for place in others:
        if _is_there(value):
            return value
        value = values[place]
    return value


def _is_there(value: Any) -> bool:
    if value.__class__ is Raw:
        return bytes(value) not in _NOTHING
    # A time that is not there is 0; prices are never whole numbers here.
    return value is not None and (value.__class__ is not int or value != 0)


def _one_by_one(slots: Mapping[str, Any]) -> Callable[[Any], list[Any]]:
    """Return what reads slots of an object in which an object on the way to one is null."""

    def read(fields: Any) -> list[Any]:
        return [_inner(fields, slot, default) for slot, default in slots.items()]

    return read


def _inner(fields: Any, slot: str, default: Any) -> Any:
    for name in slot.split("."):
        if fields is None:
            return default
        fields = getattr(fields, name)
    return fields
