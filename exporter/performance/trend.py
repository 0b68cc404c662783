"""Trends that single values do not bend: the median of slopes, and whether they point one way. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple, TypeAlias

Point: TypeAlias = tuple[float, float]
POINTS_MIN = 8
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


def keeps_growing(points: Sequence[Point]) -> bool:
    """Return whether values grow, in the second half of the time at least half as fast as in all of it.

    A program that fills its caches grows too, and ever more slowly.
    """
    whole, half = line(points), line(points[len(points) // 2 :])
    if whole is None or half is None:
        return False
    return whole.is_certain and whole.slope > 0 and half.is_certain and half.slope >= whole.slope / 2


def _limit(number: int) -> float:
    return _SIGNIFICANT * math.sqrt(number * (number - 1) * (2 * number + 5) / 18)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most 60 points: the medians of neighbours, with the middle of their times."""
    if len(points) <= POINTS_MAX:
        return list(points)
    ends = [round(index * len(points) / POINTS_MAX) for index in range(POINTS_MAX + 1)]
    groups = [points[begin:end] for begin, end in pairwise(ends)]
    return [(median([x for x, _ in group]), median([y for _, y in group])) for group in groups]
