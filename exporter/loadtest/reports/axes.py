"""Scales and ticks of charts. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from math import ceil, floor, log10
from typing import NamedTuple

from exporter.loadtest.reports import figures
from exporter.loadtest.reports.document import Chart, Tick

UNITS: Mapping[str, Callable[[float], str]] = {
    "ms": figures.ms,
    "per second": figures.per_second,
    "cores": lambda value: f"{figures.digits(value)} cores",
    "bytes": figures.size,
    "bytes per second": figures.byte_rate,
}
_ZEROS = re.compile(r"(\.\d*?)0+(?=\D|$)")
_TICKS = 5
# Room above the highest value: a line on the border is hard to see.
_HEADROOM = 1.03
# More labels than this are no help.
_TIME_TICKS = 8
_TIME_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


class Axis(NamedTuple):
    """A scale from `low` to `high` with its ticks."""

    low: float
    high: float
    ticks: tuple[Tick, ...]
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return where a value is: 0 at the low end, 1 at the high end."""
        if self.is_log:
            return log10(max(value, self.low) / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def y_axis(chart: Chart) -> Axis:
    """Return the scale of the values of a chart: from 0 on, or logarithmic."""
    values = [y for series in chart.series for _, y in series.points if y is not None]
    shown = UNITS[chart.unit]
    positive = [value for value in values if value > 0]
    if chart.is_log and positive and max(positive) > 20 * min(positive):
        return _log_axis(min(positive), max(positive), shown)
    return _linear_axis(max(values, default=0.0), shown, 1024.0 if chart.unit.startswith("bytes") else 1.0)


def x_axis(chart: Chart) -> Axis:
    """Return the scale of x of a chart: that of its ticks, or of seconds."""
    places = [x for series in chart.series for x, _ in series.points]
    if chart.x_ticks is not None:
        places += [tick.at for tick in chart.x_ticks]
        low, high = min(places), max(places)
        return Axis(low, high if high > low else low + 1.0, tuple(chart.x_ticks))
    high = max([1.0, *places])
    step = next((step for step in _TIME_STEPS if high / step <= _TIME_TICKS), _TIME_STEPS[-1])
    return Axis(0.0, high, tuple(Tick(at, _time(at, step)) for at in range(0, int(high) + 1, step)))


def _time(seconds: int, step: int) -> str:
    """Return a time in the unit in which all of such a distance are whole numbers, or halves."""
    if not seconds:
        return "0"
    divisor, unit = (3600, "h") if step >= 1800 else (60, "min") if step >= 60 else (1, "s")
    return f"{seconds / divisor:,g} {unit}"


def _log_axis(low: float, high: float, shown: Callable[[float], str]) -> Axis:
    first, last = floor(log10(low)), ceil(log10(high))
    step = ceil((last - first) / (_TICKS + 1))
    ticks = tuple(_tick(10.0**power, shown) for power in range(first, last + 1, step))
    return Axis(10.0**first, 10.0**last, ticks, is_log=True)


def _linear_axis(high: float, shown: Callable[[float], str], base: float) -> Axis:
    if high <= 0:
        return Axis(0.0, 1.0, (Tick(0.0, shown(0.0)),))
    unit = base ** floor(log10(high) / log10(base)) if base > 1 else 1.0
    step = unit * _round_up(high / unit / _TICKS)
    number = ceil(high / step - 1e-9)
    top = max(number * step, high * _HEADROOM)
    return Axis(0.0, top, tuple(_tick(each * step, shown) for each in range(number + 1)))


def _tick(value: float, shown: Callable[[float], str]) -> Tick:
    return Tick(value, _ZEROS.sub(lambda found: "" if found[1] == "." else found[1], shown(value)))


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, …: what people count in."""
    power = 10.0 ** floor(log10(value))
    return power * next(step for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def gaps(points: Iterable[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """Return the unbroken pieces of a line."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            pieces.append([])
        else:
            pieces[-1].append((x, y))
    return [piece for piece in pieces if piece]
