"""Figures as people read them: three digits and a unit. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from math import floor, log10

NONE = "-"
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def digits(value: float) -> str:
    """Return a number with three digits or all before the point, and commas between thousands."""
    rounded = float(f"{value:.3g}") if abs(value) < 100 else float(round(value))
    places = 0 if rounded == int(rounded) else 2 - floor(log10(abs(rounded)))
    return f"{rounded:,.{places}f}"


def ms(value: float | None) -> str:
    """Return milliseconds, as seconds from 1 s on."""
    if value is None:
        return NONE
    return f"{digits(value / 1000)} s" if value >= 999.5 else f"{digits(value)} ms"


def count(value: float | None) -> str:
    """Return a whole number."""
    return NONE if value is None else f"{value:,.0f}"


def per_second(value: float | None) -> str:
    """Return a rate."""
    return NONE if value is None else f"{digits(value)}/s"


def percent(ratio: float | None) -> str:
    """Return a ratio in percent."""
    return NONE if ratio is None else f"{digits(100 * ratio)} %"


def cores(value: float | None) -> str:
    """Return processor time a second."""
    return NONE if value is None else f"{value:.2f} cores"


def size(value: float | None) -> str:
    """Return bytes."""
    if value is None:
        return NONE
    for unit in _BYTES:
        if abs(value) < 1024 or unit == _BYTES[-1]:
            break
        value /= 1024
    return f"{digits(value)} {unit}"


def byte_rate(value: float | None) -> str:
    """Return bytes a second."""
    return NONE if value is None else f"{size(value)}/s"


def seconds(value: float) -> str:
    """Return a duration."""
    whole = round(value)
    if whole < 60:
        return f"{digits(value)} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{part} {unit}" for part, unit in parts if part)


def moment(unix_ms: int) -> str:
    """Return a time in UTC."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def signed_percent(ratio: float | None) -> str:
    """Return a change in percent."""
    return NONE if ratio is None else f"{100 * ratio:+.1f} %"


def signed_points(ratio: float | None) -> str:
    """Return a change of a share in percentage points."""
    return NONE if ratio is None else f"{100 * ratio:+.2f} points"
