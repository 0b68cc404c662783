"""Describes why a value cannot be decoded: the error, its place, and what the value looks like there. Pure."""

from __future__ import annotations

import re

import msgspec

from exporter.decoding.appearance import around, looks_like
from exporter.decoding.literals import blanked
from exporter.model import Reason, Rejected

# All errors that a decoder may raise for any bytes; a typed decoder of msgspec raises more than its own.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError, MemoryError)

DETAIL_CHARACTERS = 200
_QUOTED_BYTES = 24
_MALFORMED = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")
_LIKE_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*[\[{]")
# In the place of a value, not in an unterminated string.
_WORD = re.compile(rb"(?<=[\s:,\[])[A-Za-z_][A-Za-z_/]{0,31}")
_HALF_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_PAIR_BYTES = 12
_TRAILING = "trailing characters"


def is_malformed(error: Exception) -> bool:
    """Return whether an error means that the bytes are not JSON, rather than JSON of other types."""
    return isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError)


def rejection(value: object, error: Exception) -> Rejected:
    """Return the rejection for an error of a decoder; its text quotes a few bytes of the value at most."""
    record = value if isinstance(value, bytes) else b""
    if isinstance(error, msgspec.ValidationError):
        return _of_type(record, str(error))
    if isinstance(error, UnicodeDecodeError):
        return _of_encoding(record, error)
    if isinstance(error, RecursionError):
        return Rejected(Reason.TOO_DEEP, "nested deeper than a decoder can follow")
    return _of_json(record, error)


def in_row(rejected: Rejected, index: int, position: int, rows: str = ".data") -> Rejected:
    """Return the rejection of a single row as one of its batch, which has its rows at the path `rows`."""
    at, path = " - at `$", f" - at `${rows}[{index}]"
    detail = rejected.detail.replace(at, path) if at in rejected.detail else f"{rejected.detail}{path}`"
    return Rejected(rejected.reason, detail[:DETAIL_CHARACTERS], position=max(rejected.position or position, 0))


def too_many_messages(number: int, limit: int) -> Rejected:
    """Return the rejection of a batch with too many rows."""
    return Rejected(Reason.TOO_MANY_MESSAGES, f"{number} messages, at most {limit} are allowed")


def _of_type(record: bytes, detail: str) -> Rejected:
    reason = Reason.MISSING_FIELD if "missing required field" in detail else Reason.WRONG_TYPE
    detail = detail.replace("Number out of range", "NaN, Infinity or a number out of range")
    if detail == "Expected `object`, got `str`" and (looks := looks_like(record, 0)):
        detail = f"{detail}; looks like {looks}"
    return Rejected(reason, detail[:DETAIL_CHARACTERS])


def _of_encoding(record: bytes, error: UnicodeDecodeError) -> Rejected:
    """Return the rejection with the place in the record, where the text of the error is found unless it had escapes."""
    start = record.find(error.object)
    position = start + error.start if start >= 0 else _first_foreign(record)
    return _rejected(Reason.INVALID_UTF8, record, position, "a text is not UTF-8")


def _first_foreign(record: bytes) -> int:
    try:
        record.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _of_json(record: bytes, error: Exception) -> Rejected:
    words, position = _place(record, error)
    if not _LIKE_JSON.match(record):
        words = "not JSON"
    elif word := _WORD.match(record, _word_start(record, position)):
        words, position = f"{word[0].decode()} is not JSON", word.start()
    elif words == "invalid character" and record[position : position + 1] < b" ":
        words = "a control character that is not escaped"
    return _rejected(Reason.INVALID_JSON, record, position, words)


def _place(record: bytes, error: Exception) -> tuple[str, int]:
    """Return what is wrong and at which byte; decoding again without types finds the place more exactly."""
    try:
        msgspec.json.decode(blanked(record), type=msgspec.Raw)
    except UNREADABLE as untyped:
        error = untyped.with_traceback(None)  # the traceback would keep this frame, and so the record
    found = _MALFORMED.match(str(error))
    words, position = (found[1], int(found[2])) if found else (str(error), len(record))
    # A decoder detects it at the end of the escape, or of the record.
    if half := _HALF_PAIR.search(record, max(0, position - _PAIR_BYTES), position):
        return "half of a surrogate pair", half.start()
    if words == _TRAILING:  # the decoder has passed the first of them
        return words, position - 1
    return ("the JSON is cut off" if "truncated" in words else words), position


def _word_start(record: bytes, position: int) -> int:
    """Return where a word may begin: of one like `nil` the decoder has read the `n`, as that of `null`."""
    return position - 1 if record[position - 1 : position] in (b"n", b"t", b"f") else position


def _rejected(reason: Reason, record: bytes, position: int, words: str) -> Rejected:
    looks = looks_like(record, position)
    looks = f"looks like {looks}; " if looks else ""
    detail = f"{looks}{words} at byte {position}: {around(record, position, _QUOTED_BYTES)}"
    return Rejected(reason, detail[:DETAIL_CHARACTERS], position=position)
