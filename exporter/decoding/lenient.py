"""Decodes batches with invalid fields: a row loses its invalid field, and other rows lose nothing. Pure.

First all rows are decoded at once with numbers spelled as text, then with texts and booleans in place of numbers, which
are converted one by one. Rows with any other value are decoded one by one, without building that value. Each step is
one pass, so the time is proportional to the length of the record, whatever it contains.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from math import isinf
from typing import Any, Protocol

import msgspec

from exporter.decoding.appearance import around
from exporter.decoding.batch import ELSEWHERE, LEVELS, NO_JSON, PRICES, Batch, Message, PartialBatch
from exporter.decoding.faults import UNREADABLE, in_row, rejection, too_many_messages
from exporter.decoding.literals import MARK
from exporter.decoding.numbers import exact, number, stamp, whole
from exporter.decoding.rows import FINITE, row_type
from exporter.model import FeedKey, Reason, Rejected

_SHOWN_BYTES = 40
_EXPONENT = re.compile(rb"\s*+-?\d[\d.]*+[eE][-+]?\d++\s*+")
_SCALAR = int | float | str | bool | None
# How the numbers of a row are converted, and the type that needs no conversion.
_NUMBERS: tuple[tuple[str, Callable[[Any], Any], Any], ...] = (
    ("timestamp", stamp, int),
    *((name, number, float) for name in PRICES),
)


class Decoding(Protocol):
    """A factory of functions that decode a type from JSON, or from objects."""

    def __call__(self, kind: Any, *, strict: bool = True) -> Callable[[Any], Any]:
        """Return a function that decodes values of that type, or raises one of `UNREADABLE`."""


class _Found:
    """The unreadable fields by name, and how many of them were a `MARK`."""

    def __init__(self) -> None:
        self.fields: Counter[str] = Counter()
        self.marks = 0


class Lenient:
    """Decoder of batches with invalid fields, of at most `messages` rows.

    `unread` is the type of values before they are decoded: JSON, or any object.
    """

    def __init__(self, decoding: Decoding, unread: Any, symbol_field: str, messages: int) -> None:
        levels = () if unread is msgspec.Raw else LEVELS  # kept as JSON, so objects have none
        spelled, loose, tokens = (
            row_type(symbol_field, numbers, levels) for numbers in (FINITE, _of_type(_SCALAR), _of_type(unread))
        )
        self._outer = decoding(_outer_type(unread))
        self._spelled_rows = decoding(list[spelled], strict=False)  # type: ignore[valid-type]
        self._loose_rows = decoding(list[loose])  # type: ignore[valid-type]
        self._parts = decoding(list[unread])
        self._loose = decoding(loose)
        self._tokens = decoding(tokens)
        self._scalar = quick(decoding(_SCALAR)) if unread is msgspec.Raw else lambda value: value
        self._messages = messages

    def read(self, value: Any, record: bytes = b"", literals: int = 0, by_token: bool = False) -> Batch:
        """Return the batch in `value`, or raise `Rejected` or one of `UNREADABLE`.

        `record` is the text that a rejection quotes, `literals` the number of `MARK`s in it. `by_token` decodes the
        numbers one by one, with the same result: faster for records full of long exponents.
        """
        outer = self._outer(value)
        sent = self._sent(outer.timestamp_ms)
        found = _Found()
        size = None if outer.batch_size is NO_JSON else self._read("batch_size", outer.batch_size, exact, found)
        rows = None if literals or by_token else self._at_once(outer.data, found)
        if rows is None:
            rows = self._row_by_row(outer.data, record, found, by_token)
        if literals:
            _place(rows, literals, found)
        known = (outer.exchange, outer.region, outer.request_type, sent, rows, size)
        return PartialBatch(*known, dict(found.fields)) if found.fields else Batch(*known)

    def _sent(self, token: Any) -> int:
        try:
            return whole(self._scalar(token))
        except UNREADABLE:
            expected = "Expected whole Unix milliseconds or an ISO 8601 time with an offset"
            raise Rejected(Reason.WRONG_TYPE, f"{expected}, got {_shown(token)} - at `$.timestamp_ms`") from None

    def _at_once(self, data: Any, found: _Found) -> list[Message] | None:
        """Return the rows, None when they have to be decoded one by one."""
        try:
            rows: list[Message] = self._spelled_rows(data)
            return rows
        except UNREADABLE:
            pass
        try:
            return [_converted(row, found) for row in self._loose_rows(data)]
        except UNREADABLE:
            return None

    def _row_by_row(self, data: Any, record: bytes, found: _Found, by_token: bool) -> list[Message]:
        parts = self._parts(data)
        if len(parts) > self._messages:
            raise too_many_messages(len(parts), self._messages)
        rows = []
        for index, part in enumerate(parts):
            row = None if by_token else self._as_scalars(part)
            rows.append(_converted(row or self._by_token(part, index, record, found), found))
        return rows

    def _as_scalars(self, part: Any) -> Message | None:
        try:
            row: Message = self._loose(part)
            return row
        except UNREADABLE:
            return None

    def _by_token(self, part: Any, index: int, record: bytes, found: _Found) -> Message:
        try:
            row: Message = self._tokens(part)
        except UNREADABLE as error:
            rejected = rejection(record, error)
            raise in_row(rejected, index, record.find(bytes(part)) if record else 0) from None
        for name, _, _ in _NUMBERS:
            token = getattr(row, name)
            if isinstance(token, msgspec.Raw):
                setattr(row, name, self._read(name, token, lambda value: value, found))
        return row

    def _read(self, name: str, token: Any, read: Callable[[Any], Any], found: _Found) -> Any:
        try:
            return read(self._scalar(token))
        except UNREADABLE:
            found.fields[name] += 1
            found.marks += _is_mark(token)
            return None


def quick(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that decodes a JSON scalar as `read` does, but numbers with exponents with `float`."""

    def scalar(token: Any) -> Any:
        if not _EXPONENT.fullmatch(token):
            return read(token)
        value = float(bytes(token))
        if isinf(value):
            raise ValueError("beyond a double")
        return value

    return scalar


def _converted(row: Message, found: _Found) -> Message:
    """Convert the numbers of a row in place."""
    for name, read, usual in _NUMBERS:
        value = getattr(row, name)
        # `value - value` is not 0 for NaN and Infinity, which objects may have.
        if value is None or (value.__class__ is usual and value - value == 0):
            continue
        try:
            setattr(row, name, read(value))
        except ValueError:
            found.fields[name] += 1
            setattr(row, name, None)
    return row


def _of_type(kind: Any) -> list[tuple[str, Any, Any]]:
    """Return the numeric fields of a row with that type."""
    return [("timestamp", kind, 0), *((name, kind, None) for name in PRICES)]


def _outer_type(unread: Any) -> Any:
    """Return the type of a batch whose rows and numbers are not yet decoded."""
    fields: list[Any] = [(name, str) for name in FeedKey._fields]
    fields += [("timestamp_ms", unread), ("data", unread), ("batch_size", unread, NO_JSON)]
    return msgspec.defstruct("Outer", fields, gc=False)


def _place(rows: Iterable[Message], literals: int, found: _Found) -> None:
    """Count the literals outside the numbers of rows by their fields: in levels, or elsewhere."""
    left = literals - found.marks
    for row in rows if left else ():
        for name in LEVELS:
            if marks := bytes(getattr(row, name)).count(MARK):
                found.fields[name] += 1
                left -= marks
    if left > 0:
        found.fields[ELSEWHERE] += left


def _is_mark(token: Any) -> bool:
    return isinstance(token, msgspec.Raw) and bytes(token).removeprefix(b"-") == MARK


def _shown(token: Any) -> str:
    if not isinstance(token, msgspec.Raw):
        return f"`{type(token).__name__}`"
    return "NaN or Infinity" if _is_mark(token) else around(bytes(token), 0, _SHOWN_BYTES)
