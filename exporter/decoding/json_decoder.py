"""Decodes JSON records to batches.

`Decoder.decode` returns a `Batch` or raises `Rejected` with one of the reasons of `model`, whatever the bytes are.
Pure: no clock, no I/O, no log.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from exporter.decoding.batch import LEVELS, MAX_TIMESTAMP_MS, Batch
from exporter.decoding.exponents import Exponents
from exporter.decoding.faults import UNREADABLE, is_malformed, rejection, too_many_messages
from exporter.decoding.lenient import Lenient
from exporter.decoding.literals import BOM, as_json
from exporter.decoding.nesting import is_deeper_than
from exporter.decoding.rows import FINITE, batch_type, row_type
from exporter.model import Reason, Rejected

if TYPE_CHECKING:
    from exporter.config.schema import Limits
    from exporter.model import Record

# The levels of any batch: the batch, its `data` and a row.
_USUAL_DEPTH = 3
_SHOWN_DIGITS = 40


class Decoder:
    """Decoder of records within limits.

    `symbol_field` is the name of the symbol's field in rows. A valid record is decoded in one pass; any other is
    decoded again by `exporter.decoding.lenient`.
    """

    plain = None  # see RecordDecoder

    def __init__(self, limits: Limits, symbol_field: str = "target_currency") -> None:
        self._limits = limits
        self._full = msgspec.json.Decoder(batch_type(row_type(symbol_field)))
        self._plain = batch_type(row_type(symbol_field, FINITE, LEVELS))
        self._json = Lenient(_from_json, msgspec.Raw, symbol_field, limits.messages)
        self._exponents = Exponents()
        self._objects = Lenient(_from_objects, Any, symbol_field, limits.messages)

    def decode(self, value: bytes | None) -> Batch:
        """Return the batch in `value`, or raise `Rejected`."""
        limits = self._limits
        if not value:
            raise Rejected(Reason.EMPTY, "the record has no value")
        if len(value) > limits.record_bytes:
            raise Rejected(Reason.TOO_LARGE, f"{len(value)} bytes, at most {limits.record_bytes} are allowed")
        batch = self._read(value)
        rows = self._rows(batch)
        # Brackets beyond those of any batch may open more levels; only then the depth is measured. bytes.count compares
        # each byte; replace searches with memchr, which is twice as fast.
        brackets = 2 * len(value) - len(value.replace(b"{", b"")) - len(value.replace(b"[", b""))
        if brackets - rows - 2 + _USUAL_DEPTH > limits.depth and is_deeper_than(value, limits.depth):
            raise Rejected(Reason.TOO_DEEP, f"nested deeper than {limits.depth} levels")
        return batch

    def read(self, record: Record) -> Batch:
        """Return the batch in the value of a record, or raise `Rejected`; see `exporter.decoding.formats`."""
        return self.decode(record.value)

    def convert(self, value: object) -> Batch:
        """Return the batch in plain objects, as `json.loads` makes them, or raise `Rejected`.

        The limits on bytes and depth do not apply. Levels of order books are ignored.
        """
        try:
            batch = msgspec.convert(value, self._plain)
        except UNREADABLE:
            try:
                batch = self._objects.read(value)
            except UNREADABLE as error:
                raise rejection(b"", error) from None
        self._rows(batch)
        return batch

    def _read(self, value: bytes) -> Batch:
        exponents = self._exponents
        exponents.unseen_bytes += len(value)
        is_slow = exponents.unseen_bytes >= exponents.due_bytes and exponents.seen(value)
        try:
            return self._json.read(value, value, by_token=True) if is_slow else self._full.decode(value)
        except UNREADABLE as error:
            if value.startswith(BOM):
                return self._read(b" " * len(BOM) + value[len(BOM) :])
            return self._leniently(value, error, is_slow)

    def _leniently(self, value: bytes, error: Exception, is_slow: bool) -> Batch:
        if not is_malformed(error):
            try:
                return self._json.read(value, value, by_token=is_slow)
            except UNREADABLE as found:
                error = found.with_traceback(None)  # the traceback would keep this frame, and so the record
        text, literals = as_json(value) if is_malformed(error) else (value, 0)
        if not literals:
            raise rejection(value, error) from None
        try:
            return self._json.read(text, value, literals, is_slow)
        except UNREADABLE as found:
            raise rejection(value, found) from None

    def _rows(self, batch: Batch) -> int:
        """Return the number of messages, or raise `Rejected` when it or the timestamp exceeds a limit."""
        rows, limit = len(batch.data), self._limits.messages
        if rows > limit:
            raise too_many_messages(rows, limit)
        if not 0 <= batch.timestamp_ms <= MAX_TIMESTAMP_MS:
            shown = str(batch.timestamp_ms)[:_SHOWN_DIGITS]
            raise Rejected(Reason.INVALID_TIMESTAMP, f"timestamp_ms is {shown}, not Unix milliseconds")
        return rows


def _from_json(kind: Any, *, strict: bool = True) -> Callable[[Any], Any]:
    return msgspec.json.Decoder(kind, strict=strict).decode


def _from_objects(kind: Any, *, strict: bool = True) -> Callable[[Any], Any]:
    return partial(msgspec.convert, type=kind, strict=strict)
