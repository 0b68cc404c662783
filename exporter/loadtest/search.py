"""The search for the highest rate that holds. Pure.

A rate does not hold when latencies rise for as long as it lasts: what comes at rate r where only c a second go through
waits longer by r/c - 1 seconds each second. What arrives of a rate that is too high is how much would have held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple

from exporter.loadtest.results import BreakingPoint, Step

GROWTH = 2.0
# The rate that held and the one that did not are at most this apart at the end.
TOLERANCE = 1.1
_NEAR = 1.045
STEPS_MAX = 24
# What does not hold so few is no matter of its rate.
_LEAST_PER_SECOND = 1.0
# A rise of less than this is none: 2 % of overload.
_RISE = 0.02
_SETTLE = 0.2
_BINS = 16
# The standard deviation of normal errors is so many times their median.
_NORMAL = 1.4826


class Trend(NamedTuple):
    """How much latencies rise, in seconds a second, and the standard error of it."""

    rise: float
    error: float

    @property
    def is_rising(self) -> bool:
        """Whether the rise is neither noise nor negligible."""
        return self.rise > max(_RISE, 3 * self.error)


def trend(due: Sequence[float], ms: Sequence[float], begin: float, end: float) -> Trend | None:
    """Return the trend of the latencies of requests that were due between two times; None with too few of them.

    The first fifth is left out, in which queues fill. Latencies are averaged over pieces of time first: what waits for
    the same commit is one observation.
    """
    begin += _SETTLE * (end - begin)
    sums, counts = [0.0] * _BINS, [0] * _BINS
    for at, latency in zip(due, ms, strict=True):
        if begin <= at < end:
            index = min(_BINS - 1, int((at - begin) / (end - begin) * _BINS))
            sums[index] += latency / 1000
            counts[index] += 1
    width = (end - begin) / _BINS
    points = [
        (index * width, total / count) for index, (total, count) in enumerate(zip(sums, counts, strict=True)) if count
    ]
    return _fit(points) if len(points) >= _BINS // 2 else None


def _fit(points: Sequence[tuple[float, float]]) -> Trend:
    """Return the line through points of (time, latency) in seconds with the median of all slopes.

    Unlike that of least squares, a single pause of the machine does not bend it.
    """
    rise = median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))
    level = median(y - rise * x for x, y in points)
    x_mean = sum(x for x, _ in points) / len(points)
    spread = math.sqrt(sum((x - x_mean) ** 2 for x, _ in points))
    return Trend(rise, _NORMAL * median(abs(y - rise * x - level) for x, y in points) / spread)


class Search:
    """The rates of a stress test, each after the step before: doubled until one breaks, then between the two."""

    def __init__(self, first: float) -> None:
        self._first = first
        self._estimate = 0.0
        self.steps: list[Step] = []

    def add(self, step: Step) -> None:
        """Take what became of a rate."""
        self.steps.append(step)
        if not step.held:
            self._estimate = step.arrived_per_second

    def next_rate(self) -> float | None:
        """Return the rate of the next step, None when the breaking point is known well enough."""
        point = self.point()
        held, broke = point.held_per_second, point.broke_per_second
        if len(self.steps) >= STEPS_MAX:
            return None
        if broke is None:
            return self._first if held is None else held * GROWTH
        if held is not None and broke / held <= TOLERANCE:
            return None
        low, high = held or 0.0, broke
        # Just below what would have held, and then just above it.
        for rate in (self._estimate / _NEAR, self._estimate * _NEAR):
            if low < rate < high and not any(math.isclose(rate, step.wanted_per_second) for step in self.steps):
                return rate
        if low:
            return math.sqrt(low * high)
        return high / GROWTH if high > _LEAST_PER_SECOND else None

    def point(self) -> BreakingPoint:
        """Return the highest rate that held below the lowest that did not, and that."""
        broken = [step.wanted_per_second for step in self.steps if not step.held]
        broke = min(broken, default=math.inf)
        held = [step.wanted_per_second for step in self.steps if step.held and step.wanted_per_second < broke]
        return BreakingPoint(
            held_per_second=max(held, default=None),
            broke_per_second=broke if broken else None,
            steps=tuple(self.steps),
        )
