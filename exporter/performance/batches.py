"""The batch size that pays, from what batches of several sizes took. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

SIZES_MIN = 3
SEEN_MIN = 3
SHARE = 0.9


class BatchCost(NamedTuple):
    """What a batch costs: `fixed` seconds, and `each` seconds for an item."""

    fixed: float
    each: float

    def seconds(self, size: int) -> float:
        """Return the seconds of a batch."""
        return self.fixed + self.each * size

    def rate(self, size: float) -> float:
        """Return the items a second with batches of a size."""
        return size / (self.fixed + self.each * size)


def batch_cost(observed: Iterable[tuple[float, float]]) -> BatchCost | None:
    """Return the cost from items and seconds of batches; None for fewer than 3 sizes seen 3 times, or no pattern.

    It is the line through the median of each size with the median of slopes: single slow batches do not bend it.
    """
    by_size = defaultdict[float, list[float]](list)
    for items, seconds in observed:
        by_size[items].append(seconds)
    points = sorted([(size, median(spent)) for size, spent in by_size.items() if size > 0 and len(spent) >= SEEN_MIN])
    if len(points) < SIZES_MIN:
        return None
    slopes = [(b - a) / (y - x) for index, (x, a) in enumerate(points) for y, b in points[index + 1 :]]
    each = median(slopes)
    fixed = max(0.0, median([spent - each * size for size, spent in points]))
    return BatchCost(fixed, each) if each > 0 else None


def optimal_size(cost: BatchCost, most: int, max_seconds: float | None = None) -> int:
    """Return the smallest size with 90 % of the highest possible rate, within `most` and `max_seconds` a batch.

    Larger ones would cost latency for little. It is 1 where not even one item fits into `max_seconds`.
    """
    wanted = cost.fixed / cost.each * SHARE / (1 - SHARE)
    if max_seconds is not None:
        wanted = min(wanted, (max_seconds - cost.fixed) / cost.each)
    return max(1, min(most, int(wanted + 1e-9)))
