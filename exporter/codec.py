"""Bytes to batches: the only place that reads what a collector wrote.

`Decoder.decode` gives a `Batch` or raises `Rejected` with a reason from the closed set, whatever the bytes are.
Pure: no clock, no I/O, no log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from exporter.model import Reason, Rejected

if TYPE_CHECKING:
    from exporter.configuration.config import Limits

# Year 9999: beyond it neither ISO 8601 with four digits nor a sensible collector goes.
MAX_TIMESTAMP_MS = 253_402_300_799_999

# The batch, its `data` and a row: what every batch has.
_USUAL_DEPTH = 3

# All that a decoder may raise over a record, whatever its bytes; typed msgspec raises more than its own errors.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError, MemoryError)

_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_MARKS = bytes(set(range(256)) - set(b'[]{}"\\'))
_B = TypeVar("_B", bound=msgspec.Struct)
_M = TypeVar("_M", bound=msgspec.Struct)

NO_JSON = msgspec.Raw(b"")
# Kept as JSON, so only JSON gives them.
_LEVELS = ("asks", "bids", "units")


class Message(msgspec.Struct, gc=False):
    """One row of a batch, as far as its kind goes: a ticker has `last`, a trade `price`, an order book its levels.

    Numbers may be written as text, as many exchanges do to keep all digits: `"last": "176695000.0"`.
    `timestamp` is the exchange's stamp in Unix milliseconds, 0 when the row has none. The levels are JSON as it came,
    not yet read, and without a byte when the row has none.
    """

    symbol: str
    timestamp: int | float | None = 0
    last: float | None = None
    high: float | None = None
    low: float | None = None
    price: float | None = None
    asks: msgspec.Raw = NO_JSON
    bids: msgspec.Raw = NO_JSON
    units: msgspec.Raw = NO_JSON


class Batch(msgspec.Struct, gc=False):
    """A decoded record. `batch_size` is what the collector declared, never what is counted."""

    exchange: str
    region: str
    request_type: str
    timestamp_ms: int
    data: list[Message]
    batch_size: int | float | None = None


class PartialBatch(Batch, gc=False):
    """A batch whose optional fields were left out because one of them had a type that cannot be read."""


class _Outer(msgspec.Struct, gc=False):
    """A batch whose rows are not yet read: JSON, or an object when it was none."""

    exchange: str
    region: str
    request_type: str
    timestamp_ms: int
    data: msgspec.Raw
    batch_size: int | float | None = None


class _OuterObject(_Outer, gc=False):
    data: Any


class _RequiredMessage(msgspec.Struct, gc=False):
    symbol: str


class _RequiredBatch(msgspec.Struct, gc=False):
    exchange: str
    region: str
    request_type: str
    timestamp_ms: int
    data: list[_RequiredMessage]


class Decoder:
    """Decodes records under limits; one decoder serves any number of records.

    `symbol_field` is the name that rows give their symbol.
    """

    def __init__(self, limits: Limits, symbol_field: str = "target_currency") -> None:
        self._limits = limits
        self._symbol_field = symbol_field
        row, self._plain_row = _row(Message, symbol_field), _row(Message, symbol_field, _LEVELS)
        self._full = msgspec.json.Decoder(_of_rows(Batch, row))
        self._outer = msgspec.json.Decoder(_Outer)
        self._text_rows = msgspec.json.Decoder(list[row], strict=False)  # type: ignore[valid-type]
        self._required = msgspec.json.Decoder(_of_rows(_RequiredBatch, _row(_RequiredMessage, symbol_field)))
        self._plain = _of_rows(Batch, self._plain_row)

    def decode(self, value: bytes | None) -> Batch:
        """Return the batch in `value`, or raise `Rejected`."""
        limits = self._limits
        if not value:
            raise Rejected(Reason.EMPTY, "the record has no value")
        if len(value) > limits.record_bytes:
            raise Rejected(Reason.TOO_LARGE, f"{len(value)} bytes, at most {limits.record_bytes} are allowed")
        batch = self._read(value)
        rows = self._rows(batch)
        # Each bracket beyond those that every batch has may open one more level; only then is a closer look due.
        brackets = _count(value, b"{") + _count(value, b"[")
        if brackets - rows - 2 + _USUAL_DEPTH > limits.depth and is_deeper_than(value, limits.depth):
            raise Rejected(Reason.TOO_DEEP, f"nested deeper than {limits.depth} levels")
        return batch

    def convert(self, value: object) -> Batch:
        """Return the batch in plain objects, as `json.loads` makes them, or raise `Rejected`.

        Bytes and depth have no limits here: they are a text's. Levels of order books are left out.
        """
        try:
            batch = msgspec.convert(value, self._plain)
            _refuse_nan(batch.data)
        except (msgspec.ValidationError, ValueError):
            batch = _second(lambda: self._text_of_object(value), lambda: msgspec.convert(value, self._required.type))
        self._rows(batch)
        return batch

    def _read(self, value: bytes) -> Batch:
        try:
            return self._full.decode(value)
        except msgspec.ValidationError:
            return _second(lambda: self._text_of_json(value), lambda: self._required.decode(value))
        except _UNREADABLE as error:
            raise _rejected(error) from None

    def _text_of_json(self, value: bytes) -> Batch:
        outer = self._outer.decode(value)
        return _joined(outer, self._text_rows.decode(outer.data))

    def _text_of_object(self, value: object) -> Batch:
        outer = msgspec.convert(value, _OuterObject)
        return _joined(outer, msgspec.convert(outer.data, list[self._plain_row], strict=False))  # type: ignore[name-defined]

    def _rows(self, batch: Batch) -> int:
        """Return how many messages there are, or raise `Rejected` when those or the stamp break a limit."""
        rows, limit = len(batch.data), self._limits.messages
        if rows > limit:
            raise Rejected(Reason.TOO_MANY_MESSAGES, f"{rows} messages, at most {limit} are allowed")
        if not 0 <= batch.timestamp_ms <= MAX_TIMESTAMP_MS:
            raise Rejected(Reason.INVALID_TIMESTAMP, f"timestamp_ms is {batch.timestamp_ms}, not Unix milliseconds")
        return rows


def _second(read: Callable[[], Batch], least: Callable[[], _RequiredBatch]) -> Batch:
    """Read what could not be read at first with numbers as text, or else without optional fields."""
    try:
        return read()
    except _UNREADABLE:
        return _partial(least)


def _joined(outer: _Outer, rows: list[Message]) -> Batch:
    _refuse_nan(rows)
    return Batch(outer.exchange, outer.region, outer.request_type, outer.timestamp_ms, rows, outer.batch_size)


def _refuse_nan(rows: Iterable[Message]) -> None:
    """Raise ValueError when a stamp is NaN, which no JSON holds, but texts and objects do."""
    if any(row.timestamp != row.timestamp for row in rows):
        raise ValueError("a stamp is not a number")


def _partial(read: Callable[[], _RequiredBatch]) -> PartialBatch:
    """Leave the optional fields out: one that has a wrong type does not make the batch invalid."""
    try:
        least = read()
    except _UNREADABLE as error:
        raise _rejected(error) from None
    messages = [Message(row.symbol) for row in least.data]
    return PartialBatch(least.exchange, least.region, least.request_type, least.timestamp_ms, messages)


def _rejected(error: Exception) -> Rejected:
    """Translate what a decoder raised; its text names the place and quotes nothing longer than a field's name."""
    detail = str(error)[:200]
    if isinstance(error, msgspec.ValidationError):
        missing = "missing required field" in detail
        return Rejected(Reason.MISSING_FIELD if missing else Reason.WRONG_TYPE, detail)
    if isinstance(error, UnicodeDecodeError):
        return Rejected(Reason.INVALID_UTF8, f"byte {error.start} of a text is not UTF-8")
    if isinstance(error, RecursionError):
        return Rejected(Reason.TOO_DEEP, "nested deeper than a decoder can follow")
    return Rejected(Reason.INVALID_JSON, detail)


def _count(value: bytes, mark: bytes) -> int:
    # bytes.count looks at each byte; replace searches for the mark as memchr does, which is more than twice as fast.
    return len(value) - len(value.replace(mark, b""))


def is_deeper_than(value: bytes, depth: int) -> bool:
    """Tell whether the valid JSON text `value` nests arrays and objects deeper than `depth` levels.

    Each round takes away the innermost pairs, so what is left after `depth` rounds lies deeper.
    """
    brackets = _brackets(value)
    for _ in range(depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _brackets(value: bytes) -> bytes:
    """Return the brackets of a JSON text that stand outside its strings, all of them square."""
    marks = value.translate(_TO_SQUARE, _NOT_MARKS)
    if b"\\" in marks:  # then some quotes may not end their strings
        marks = value.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_TO_SQUARE, _NOT_MARKS)
    # First the strings without brackets go; of what is left between quotes, every second piece is a string's.
    return b"".join(marks.replace(b'""', b"").split(b'"')[::2])


def _row(message: type[_M], symbol_field: str, left_out: Iterable[str] = ()) -> type[_M]:
    """Return `message` as a type that calls its symbol `symbol_field`.

    What is `left_out` is read from names that nobody gives to a field.
    """
    fields: list[Any] = [("symbol", str), *((name, msgspec.Raw, NO_JSON) for name in left_out)]
    names = {"symbol": symbol_field} | {name: f"{name} as JSON" for name in left_out}
    return msgspec.defstruct(message.__name__, fields, bases=(message,), rename=names, gc=False)  # type: ignore[return-value]


def _of_rows(batch: type[_B], row: type[msgspec.Struct]) -> type[_B]:
    """Return `batch` as a type with such rows."""
    return msgspec.defstruct(batch.__name__, [("data", list[row])], bases=(batch,), gc=False)  # type: ignore[return-value, valid-type]
