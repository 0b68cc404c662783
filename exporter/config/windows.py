"""Parsers of windows of time in the configuration; each raises ValueError with what is wrong with the text. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY_DAY = frozenset(range(7))
_WEEKLY = re.compile(r"(?:([a-z,-]+) )?(\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII)
_DAY_MINUTES = 24 * 60


class Weekly(NamedTuple):
    """A weekly window in minutes of the local day on which it begins; Monday is 0, and it may end the day after."""

    days: frozenset[int]
    start: int
    end: int


class Once(NamedTuple):
    """A single window; in local time if it has no offset."""

    start: datetime
    end: datetime


def weekly(text: str) -> Weekly:
    """Return the window of `09:00-15:30` (daily), `mon-fri 09:00-15:30` or `sat 22:00-02:00` (into the next day)."""
    found = _WEEKLY.fullmatch(text.strip().lower())
    if not found:
        raise ValueError("days such as mon-fri or sat,sun may stand before the hours, such as 09:00-15:30")
    start, end = _minutes(found[2], found[3]), _minutes(found[4], found[5])
    if start in (end, _DAY_MINUTES):
        raise ValueError("it begins and ends at the same time, the whole day is 00:00-24:00")
    return Weekly(_days(found[1]), start, end if end > start else end + _DAY_MINUTES)


def once(text: str) -> Once:
    """Return the window of `2026-12-24T00:00/2026-12-26T00:00`: two ISO 8601 times, both local or both with offset."""
    parts = text.strip().split("/")
    if len(parts) != 2:
        raise ValueError("two ISO 8601 times are joined by a slash")
    start, end = (datetime.fromisoformat(part) for part in parts)
    if (start.tzinfo is None) != (end.tzinfo is None):
        raise ValueError("either both times have an offset or none")
    if start >= end:
        raise ValueError("it ends before it begins")
    if start.year <= 1970 or end.year >= 9000:
        raise ValueError("the years must lie between 1971 and 8999")
    return Once(start, end)


def window(text: str) -> Weekly | Once:
    """Return the weekly or single window of a text."""
    return once(text) if "/" in text else weekly(text)


def zone(text: str) -> ZoneInfo:
    """Return the time zone of an IANA name."""
    from zoneinfo import ZoneInfo  # few configurations name one, and each command reads the configuration

    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("there is no such time zone") from None


def zone_name(text: str) -> str:
    """Return the text if it names a time zone."""
    zone(text)
    return text


def hours_text(text: str) -> str:
    """Return the text if it is a weekly window."""
    weekly(text)
    return text


def window_text(text: str) -> str:
    """Return the text if it is a window of either kind."""
    window(text)
    return text


def _minutes(hour: str, minute: str) -> int:
    minutes = int(hour) * 60 + int(minute)
    if int(minute) > 59 or minutes > _DAY_MINUTES:
        raise ValueError("hours go from 00:00 to 24:00")
    return minutes


def _days(text: str | None) -> frozenset[int]:
    if text is None:
        return _EVERY_DAY
    return frozenset(day for part in text.split(",") for day in _range(part))


def _range(text: str) -> list[int]:
    """Return the days of `mon`, `mon-fri` or `sat-mon`."""
    first, _, last = text.partition("-")
    if first not in _DAYS or (last or first) not in _DAYS:
        raise ValueError(f"days are {', '.join(_DAYS)}")
    start = _DAYS.index(first)
    length = (_DAYS.index(last or first) - start) % 7
    return [(start + offset) % 7 for offset in range(length + 1)]
