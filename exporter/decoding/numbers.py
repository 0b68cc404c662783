"""Converts the spellings of numbers and times that collectors use; docs/input.md has the table. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from math import isfinite

_NUMBER = re.compile(r"[+-]?(?:(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)", re.ASCII)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?P<offset>Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def number(value: object) -> float | None:
    """Return the number of a JSON number or text, None for null; raise ValueError for any other value.

    Infinity, NaN and numbers beyond a double raise ValueError, too.
    """
    read = exact(value)
    return None if read is None else _finite(read)


def stamp(value: object) -> int | float | None:
    """Return the Unix milliseconds of a number or an ISO 8601 time, None for null; raise ValueError for others."""
    found = time_ms(value) if isinstance(value, str) else None
    return exact(value) if found is None else found


def time_ms(text: str, zone: tzinfo | None = None) -> int | None:
    """Return the Unix milliseconds of an ISO 8601 time, None for other texts; raise ValueError for `2026-13-01T00:00Z`.

    One without an offset from UTC is not read without `zone`: it may be wrong by hours. A local time that occurs twice
    is the first of both, and one that is skipped has the offset before the change.
    """
    text = text.strip()
    found = _TIME.fullmatch(text)
    if found is None or (zone is None and found["offset"] is None):
        return None
    moment = datetime.fromisoformat(text.upper())
    return ((moment if found["offset"] else moment.replace(tzinfo=zone)) - _EPOCH) // _MILLISECOND


def lacks_offset(text: str) -> bool:
    """Return whether a text is an ISO 8601 time without an offset from UTC."""
    found = _TIME.fullmatch(text.strip())
    return found is not None and found["offset"] is None


def whole(value: object) -> int:
    """Return whole Unix milliseconds, as `stamp` does; raise ValueError for null and fractions."""
    read = stamp(value)
    if read is None or read != int(read):
        raise ValueError("not a whole number")
    return int(read)


def exact(value: object) -> int | float | None:
    """Return the number of a JSON value, as `number` does, but a whole one as an int of any size."""
    if value is None:
        return None
    if isinstance(value, str):
        return _spelled(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("not a number")
    return value if isinstance(value, int) else _finite(value)


def _spelled(text: str) -> int | float | None:
    if text.lower() == "null":
        return None
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    plain = text.replace(",", "")
    return int(plain) if _WHOLE.fullmatch(text) else _finite(float(plain))


def _finite(value: int | float | Decimal) -> float:
    try:
        read = float(value)
    except OverflowError:
        raise ValueError("beyond a double") from None
    if not isfinite(read):
        raise ValueError("not finite")
    return read
