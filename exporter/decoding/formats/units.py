"""Times in the units that collectors write, as Unix milliseconds. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.decoding.numbers import is_time, stamp

ISO_8601 = "iso8601"
# Seconds as a float are exact to a quarter of a microsecond.
_INEXACT_MS = 0.0005
# So many of a unit are a millisecond: a division, because a factor below one would not be exact.
_DIVISORS = {"us": 1000, "ns": 1_000_000}


def from_slot(unit: str) -> Callable[[Any], Any] | None:
    """Return what makes milliseconds of a slot's value: None and 0 stay; None when nothing has to be done."""
    if unit == "ms":
        return None
    if unit == ISO_8601:
        return lambda moment: moment and moment.timestamp() * 1000
    if unit == "s":
        return lambda number: number and number * 1000
    divisor = _DIVISORS[unit]
    return lambda number: number and number / divisor


def from_scalar(unit: str) -> Callable[[object], int | float | None]:
    """Return what makes milliseconds of any scalar, as `stamp` reads it: ISO 8601 is read whatever the unit."""
    convert = None if unit == ISO_8601 else from_slot(unit)

    def read(value: object) -> int | float | None:
        found = stamp(value)
        if found is None or (isinstance(value, str) and is_time(value)):
            return found
        if unit == ISO_8601:
            raise ValueError("no ISO 8601 time")
        ms: int | float = found if convert is None else convert(found)
        return ms

    return read


def whole(time_ms: float) -> int:
    """Return whole milliseconds, cut off as Kafka's are: a rounded time might be later than that of the record."""
    return int(time_ms + _INEXACT_MS)
