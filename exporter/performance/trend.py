"""Trends that single values do not bend: the median of slopes, and whether they point one way. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple, TypeAlias

from exporter.performance.recent import quantile

Point: TypeAlias = tuple[float, float]
POINTS_MIN = 8
FIFTHS = 5
EVEN_MIN = 0.6
# Slopes are those of all pairs: 60 points have 1,770.
POINTS_MAX = 60
# One in 200 trends of nothing but noise is taken for one (two-sided normal quantile).
_SIGNIFICANT = 2.81


class Line(NamedTuple):
    """A straight line: `slope` in units a second; `is_certain` if the points do not come from noise alone."""

    slope: float
    at_end: float
    is_certain: bool


def line(points: Sequence[Point]) -> Line | None:
    """Return the line through points in the order of their times (Theil and Sen); None for fewer than 8 of them.

    A quarter of the points may be wrong without bending it. Whether it rises or falls is certain by Kendall's test.
    """
    few = _thinned(points)
    if len(few) < POINTS_MIN:
        return None
    slopes, score = [], 0
    for later in range(1, len(few)):
        x, y = few[later]
        for before, value in few[:later]:
            if x > before:
                slopes.append((y - value) / (x - before))
            score += (y > value) - (y < value)
    if not slopes:
        return None
    slope, end = median(slopes), few[-1][0]
    return Line(slope, median([y + slope * (end - x) for x, y in few]), abs(score) > _limit(len(few)))


class Growth(NamedTuple):
    """Growth that goes on at an even pace: units a second, the value at the end, and for how many seconds it lasts."""

    slope: float
    at_end: float
    span_seconds: float


def growth(points: Sequence[Point]) -> Growth | None:
    """Return the growth of all points, or else of their last half, quarter or eighth; None where there is none.

    Each fifth of the points adds at least 60 % of what another adds: a program that fills its caches grows ever more
    slowly. The end is above 95 % of earlier points: garbage rises again and again, to where it was before.
    """
    for share in (1, 2, 4, 8):
        begin = len(points) - len(points) // share
        found, latest = line(points[begin:]), points[begin:]
        if found is None or len(latest) < 2 * POINTS_MIN:
            return None
        before = quantile(sorted([value for _, value in points[:begin]]), 0.95)
        if found.is_certain and found.slope > 0 and _is_even(latest) and not found.at_end <= before:
            return Growth(found.slope, found.at_end, latest[-1][0] - latest[0][0])
    return None


def _is_even(points: Sequence[Point]) -> bool:
    ends = [round(index * len(points) / FIFTHS) for index in range(FIFTHS + 1)]
    levels = [median([value for _, value in points[begin:end]]) for begin, end in pairwise(ends)]
    added = [later - before for before, later in pairwise(levels)]
    return min(added) > 0 and min(added) >= EVEN_MIN * max(added)


def _limit(number: int) -> float:
    return _SIGNIFICANT * math.sqrt(number * (number - 1) * (2 * number + 5) / 18)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most 60 points: the medians of neighbours, with the middle of their times."""
    if len(points) <= POINTS_MAX:
        return list(points)
    ends = [round(index * len(points) / POINTS_MAX) for index in range(POINTS_MAX + 1)]
    groups = [points[begin:end] for begin, end in pairwise(ends)]
    return [(median([x for x, _ in group]), median([y for _, y in group])) for group in groups]
