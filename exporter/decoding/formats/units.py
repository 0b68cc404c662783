"""Times in the units that collectors write, as Unix milliseconds. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from exporter.config.windows import zone
from exporter.decoding.formats.scope import ISO_TEXT, ISO_TIME, LOCAL_TIME, STAMP, Kind
from exporter.decoding.numbers import stamp, time_ms

ISO_8601 = "iso8601"
# Seconds as a float are exact to a quarter of a microsecond.
_INEXACT_MS = 0.0005
# So many of a unit are a millisecond: a division, because a factor below one would not be exact.
_DIVISORS = {"us": 1000, "ns": 1_000_000}


def slot(unit: str, zone_name: str | None, *, strict: bool) -> tuple[Kind, Callable[[Any], Any] | None]:
    """Return what a slot of a time holds, and what makes milliseconds of it, as `from_number` does."""
    if unit != ISO_8601:
        return STAMP, from_number(unit)
    if not strict:
        # Where texts are taken for numbers, msgspec takes numbers for times, in seconds.
        read = from_scalar(unit, zone_name)
        return ISO_TEXT, lambda text: read(text) if text.__class__ is str else text
    if zone_name is None:
        return ISO_TIME, lambda moment: moment and whole(moment.timestamp() * 1000)
    return LOCAL_TIME, _from_local(zone(zone_name))


def _from_local(local: tzinfo) -> Callable[[Any], Any]:
    def read(moment: Any) -> Any:
        if moment and moment.tzinfo is None:
            moment = moment.replace(tzinfo=local)
        return moment and whole(moment.timestamp() * 1000)

    return read


def from_number(unit: str) -> Callable[[Any], Any] | None:
    """Return what makes whole milliseconds of a number: None and 0 stay; None when nothing has to be done."""
    if unit == "ms":
        return None
    if unit == "s":
        return _from_seconds
    divisor = _DIVISORS[unit]
    return lambda number: number and (number // divisor if number.__class__ is int else whole(number / divisor))


def _from_seconds(number: Any) -> Any:
    return number and (number * 1000 if number.__class__ is int else int(number * 1000 + _INEXACT_MS))


def from_scalar(unit: str, zone_name: str | None = None) -> Callable[[object], int | float | None]:
    """Return what makes milliseconds of any scalar, as `stamp` reads it: ISO 8601 is read whatever the unit."""
    convert = None if unit == ISO_8601 else from_number(unit)
    local = None if zone_name is None else zone(zone_name)

    def read(value: object) -> int | float | None:
        if isinstance(value, str) and (moment := time_ms(value, local)) is not None:
            return moment
        found = stamp(value)
        if found is None:
            return None
        if unit == ISO_8601:
            raise ValueError("no ISO 8601 time")
        ms: int | float = found if convert is None else convert(found)
        return ms

    return read


def whole(time_ms: float) -> int:
    """Return whole milliseconds, cut off as Kafka's are: a rounded time might be later than that of the record."""
    return int(time_ms + _INEXACT_MS)
