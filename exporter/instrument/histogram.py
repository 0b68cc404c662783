"""A histogram of plain integers, for places that observe many values at once. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence


class Histogram:
    """Counts of values by bucket; `buckets` has one entry more than `bounds`, for values above the last bound."""

    __slots__ = ("bounds", "buckets", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Observe a value `times` times."""
        self.buckets[bisect_left(self.bounds, value)] += times
        self.sum += value * times


def add_each(histograms: Mapping[str, Histogram], values: Mapping[str, float]) -> None:
    """Observe one value in the histogram of each name."""
    for name, value in values.items():
        histograms[name].add(value)
