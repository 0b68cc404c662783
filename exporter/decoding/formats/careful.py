"""Records with a field that does not fit the format: each field is looked at by itself. Pure.

An optional field that cannot be read costs its row that field, and is counted by name; for one that is required the
record is rejected, with the path of the field. The cost is proportional to the length of the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from exporter.decoding.batch import ELSEWHERE, MAX_TIMESTAMP_MS, NO_JSON, Batch, Message, PartialBatch
from exporter.decoding.faults import UNREADABLE, in_row, too_many_messages
from exporter.decoding.formats.fast import kafka_or_newest
from exporter.decoding.formats.layout import ANY, Layout, RowValue
from exporter.decoding.formats.units import ISO_8601, whole
from exporter.decoding.named_feed import is_feed
from exporter.decoding.numbers import exact, lacks_offset
from exporter.model import FeedKey, Reason, Rejected

if TYPE_CHECKING:
    from exporter.config.schema import Limits
    from exporter.decoding.formats.bodies import Body
    from exporter.decoding.formats.texts import Groups, Text
    from exporter.model import Record

_SHOWN_DIGITS = 40


class _Fields:
    """The fields of one object as tokens: what is not read yet. An array has the fields that `array` names."""

    def __init__(self, body: Body, token: Any, array: tuple[str, ...] = ()) -> None:
        self._body = body
        self._objects: dict[str, Mapping[str, Any] | None] = {"": self._outermost(token, array)}

    def _outermost(self, token: Any, array: tuple[str, ...]) -> Mapping[str, Any]:
        if not array:
            return self._body.fields(token)
        return dict(zip(array, self._body.items(token), strict=False))

    def find(self, path: str) -> Any:
        """Return the token of a path, UNSET without one; raise what is in `UNREADABLE` when the way leads nowhere."""
        outer, _, name = path.rpartition(".")
        fields = self._object(outer)
        return UNSET if fields is None else fields.get(name, UNSET)

    def _object(self, path: str) -> Mapping[str, Any] | None:
        if path not in self._objects:
            token = self.find(path)
            is_there = token is not UNSET and not self._body.is_null(token)
            self._objects[path] = self._body.fields(token) if is_there else None
        return self._objects[path]

    def first(self, paths: tuple[str, ...]) -> tuple[str, Any]:
        """Return the first path with something else than null, and its token; else the last one, and UNSET or null."""
        path, token = "", UNSET
        for each in paths:
            found = self.find(each)
            if found is not UNSET:
                path, token = each, found
                if not self._body.is_null(found):
                    break
        return path or paths[-1], token


class Careful:
    """Reads records of one format under limits."""

    def __init__(self, layout: Layout, body: Body, limits: Limits) -> None:
        self._layout, self._body, self._limits = layout, body, limits

    def read(self, token: Any, record: Record, groups: Groups, marks: int = 0) -> Batch | None:
        """Return the batch of a record, None for a control message; raise `Rejected` or what is in `UNREADABLE`.

        `marks` are the numbers that were taken out of the record because they are none.
        """
        layout = self._layout
        outer = None if layout.is_list else _Fields(self._body, token, layout.outer_array)
        if outer is not None and any(self._is_control(outer, path) for path in layout.skip):
            return None
        words = [self._text(text, outer, record, groups) for text in layout.feed]
        feed = FeedKey(*words)
        try:
            return self._batch(feed, token, outer, record, groups, marks)
        except Rejected as rejected:
            rejected.feed = feed if is_feed(feed, self._limits) else None
            raise

    def _is_control(self, outer: _Fields, path: str) -> bool:
        try:
            token = outer.find(path)
            return token is not UNSET and self._layout.is_skipped(path, self._body.scalar(token))
        except UNREADABLE:
            return ANY in self._layout.skip[path]

    def _batch(
        self, feed: FeedKey, token: Any, outer: _Fields | None, record: Record, groups: Groups, marks: int
    ) -> Batch:
        values = [value for value in self._layout.values if value.is_for(feed.request_type)]
        unreadable: Counter[str] = Counter()
        if self._layout.config.has_rows or outer is None:
            tokens = self._row_tokens(token, outer)
            rows = [self._row_of(*each, values, record, groups, unreadable) for each in enumerate(tokens)]
        else:
            rows = [self._row(outer, values, record, groups, unreadable)]
        time_ms = self._time_ms(outer, rows, record)
        size = self._size(outer, unreadable)
        # Of the numbers that are none, those beyond the fields that were read.
        if (elsewhere := marks - unreadable.total()) > 0:
            unreadable[ELSEWHERE] += elsewhere
        known = (feed.exchange, feed.region, feed.request_type, time_ms, rows, size)
        return PartialBatch(*known, dict(unreadable)) if unreadable else Batch(*known)

    def _row_tokens(self, token: Any, outer: _Fields | None) -> list[Any]:
        path = "" if outer is None else f".{self._layout.config.rows}"
        if outer is not None:
            token = outer.find(self._layout.config.rows or "")
        if token is UNSET:
            raise Rejected(Reason.MISSING_FIELD, f"missing required field `{path[1:]}`")
        try:
            tokens = self._body.items(token)
        except UNREADABLE:
            raise Rejected(
                Reason.WRONG_TYPE, f"Expected `array`, got {self._body.shown(token)} - at `${path}`"
            ) from None
        if len(tokens) > self._limits.messages:
            raise too_many_messages(len(tokens), self._limits.messages)
        return [self._body.unpacked(each) for each in tokens] if self._layout.config.text_rows else tokens

    def _row_of(
        self,
        index: int,
        token: Any,
        values: list[RowValue],
        record: Record,
        groups: Groups,
        unreadable: Counter[str],
    ) -> Message:
        try:
            try:
                fields = _Fields(self._body, token, self._layout.config.array)
            except UNREADABLE:
                raise self._wrong("object", token, "") from None
            return self._row(fields, values, record, groups, unreadable)
        except Rejected as rejected:
            rows = self._layout.config.rows or ""
            raise in_row(rejected, index, 0, "" if self._layout.is_list else f".{rows}") from None

    def _row(
        self,
        fields: _Fields,
        values: list[RowValue],
        record: Record,
        groups: Groups,
        unreadable: Counter[str],
    ) -> Message:
        row = Message(self._text(self._layout.symbol, fields, record, groups))
        for value in values:
            try:
                self._place(row, value, fields.first(value.paths)[1])
            except UNREADABLE:
                unreadable[value.name] += 1
                setattr(row, value.name, NO_JSON if value.is_levels else None)
        return row

    def _place(self, row: Message, value: RowValue, token: Any) -> None:
        """Read one field of a row in place; raise what is in `UNREADABLE`."""
        if token is UNSET:
            return
        if value.is_levels:
            as_levels = self._body.as_units if value.name == "units" else self._body.as_levels
            setattr(row, value.name, as_levels(token))
        else:
            setattr(row, value.name, value.read(self._body.scalar(token)))

    def _text(self, text: Text, fields: _Fields | None, record: Record, groups: Groups) -> str:
        if text.is_outside or fields is None:
            return text.outside(record, groups)
        path, token = self._found(fields, text.paths)
        if token is UNSET or (text.default is not None and self._body.is_null(token)):
            return text.absent()
        try:
            found = self._body.scalar(token)
        except UnicodeDecodeError:
            raise
        except UNREADABLE:
            found = None
        if not isinstance(found, str):
            raise self._wrong("str", token, path)
        return text.renamed(found)

    def _found(self, fields: _Fields, paths: tuple[str, ...]) -> tuple[str, Any]:
        try:
            return fields.first(paths)
        except UNREADABLE:
            where = paths[0].rpartition(".")[0]
            raise Rejected(Reason.WRONG_TYPE, f"Expected `object` - at `$.{where}`") from None

    def _time_ms(self, outer: _Fields | None, rows: list[Message], record: Record) -> int:
        paths = self._layout.time_paths
        if not paths or outer is None:
            return kafka_or_newest(self._layout, rows, record)
        path, token = self._found(outer, paths)
        if token is UNSET:
            raise Rejected(Reason.MISSING_FIELD, f"missing required field `{'` or `'.join(paths)}`")
        try:
            time_ms = self._layout.read_time(self._body.scalar(token))
        except UNREADABLE:
            time_ms = None
        if time_ms is None:
            raise self._no_time(token, path)
        if not 0 <= time_ms <= MAX_TIMESTAMP_MS:
            shown = str(time_ms)[:_SHOWN_DIGITS]
            raise Rejected(Reason.INVALID_TIMESTAMP, f"{path} is {shown} in Unix milliseconds")
        return whole(time_ms)

    def _no_time(self, token: Any, path: str) -> Rejected:
        time = self._layout.config.time
        is_text, is_local = time.unit == ISO_8601, time.zone is None and self._is_local(token)
        expected = "a time with an offset from UTC" if is_text and time.zone is None else "a time"
        rejected = self._wrong(expected, token, path)
        if is_local:
            missing = "time.zone" if is_text else "time.unit iso8601 and time.zone"
            rejected = Rejected(rejected.reason, f"{rejected.detail}: without an offset it needs {missing}")
        return rejected

    def _is_local(self, token: Any) -> bool:
        try:
            found = self._body.scalar(token)
        except UNREADABLE:
            return False
        return isinstance(found, str) and lacks_offset(found)

    def _size(self, outer: _Fields | None, unreadable: Counter[str]) -> int | float | None:
        path = self._layout.config.batch_size
        if path is None or outer is None:
            return None
        try:
            token = outer.find(path)
            return None if token is UNSET else exact(self._body.scalar(token))
        except UNREADABLE:
            unreadable["batch_size"] += 1
            return None

    def _wrong(self, expected: str, token: Any, path: str) -> Rejected:
        at = f"$.{path}" if path else "$"
        return Rejected(Reason.WRONG_TYPE, f"Expected `{expected}`, got {self._body.shown(token)} - at `{at}`")
