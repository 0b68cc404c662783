"""Histograms for places that observe many values at once: classic buckets, native ones, or both. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from exporter.instrument.native import BucketRun, NativeBuckets


class Bounds:
    """The upper bounds of classic buckets, as `values` are observed; `per_unit` of them are one unit of the metric.

    Times are observed in whole milliseconds (`per_unit` 1000), so that their sum is exact, and shown in seconds.
    `shown` are the bounds in the unit of the metric, `spelled` the same as `le` has them; both end with infinity.
    """

    __slots__ = ("per_unit", "shown", "spelled", "values")

    def __init__(self, values: Iterable[float], per_unit: int = 1) -> None:
        self.values = tuple(values)
        self.per_unit = per_unit
        self.shown = (*(float(bound / per_unit) for bound in self.values), float("inf"))
        self.spelled = (*map(repr, self.shown[:-1]), "+Inf")


class Bucket(NamedTuple):
    """The number of values up to a bound, in the unit of the metric, that are above the bucket before."""

    upper_bound: float
    number: int


class Histogram:
    """Counts of values by bucket, and their sum.

    `buckets` has one entry more than `bounds`, for values above the last bound; it is empty for a histogram without
    classic buckets. `native` is None for one without native buckets. `sum` is in the unit of the bounds.
    """

    __slots__ = ("bounds", "buckets", "native", "sum")

    def __init__(self, bounds: Bounds, *, is_classic: bool = True, is_native: bool = False) -> None:
        self.bounds = bounds
        self.buckets = [0] * len(bounds.shown) if is_classic else []
        self.native = NativeBuckets() if is_native else None
        self.sum: float = 0  # whole as long as its values are

    def add(self, value: float, times: int = 1) -> None:
        """Observe a value `times` times."""
        self.sum += value * times
        if self.buckets:
            self.buckets[bisect_left(self.bounds.values, value)] += times
        if self.native is not None:
            self.native.add(value / self.bounds.per_unit, times)

    @property
    def count(self) -> int:
        """The number of values."""
        return sum(self.buckets) if self.native is None else self.native.count

    @property
    def shown_sum(self) -> float:
        """The sum in the unit of the metric."""
        return self.sum if self.bounds.per_unit == 1 else self.sum / self.bounds.per_unit

    def classic_counts(self) -> list[int]:
        """Return the counts by classic bucket; without such buckets from the native ones, exact to their width.

        Those of a histogram without any buckets are 0.
        """
        counts = list(self.buckets) or [0] * len(self.bounds.shown)
        if self.buckets or self.native is None:
            return counts
        for upper_bound, number in self.distribution():
            # A bucket belongs to where its middle is, and the one of the bound itself to the bound.
            middle = upper_bound * (1 - 2.0 ** (-self.native.schema) / 4) if upper_bound > 0 else upper_bound
            counts[bisect_left(self.bounds.shown, middle)] += number
        return counts

    def distribution(self) -> list[Bucket]:
        """Return the buckets in ascending order, in the unit of the metric: the classic ones, else the native ones."""
        if self.buckets or self.native is None:
            return [Bucket(*pair) for pair in zip(self.bounds.shown, self.buckets, strict=True)]
        native, run = self.native, self.native.positive
        found = [Bucket(native.upper_bound(index), number) for index, number in enumerate(run.counts, run.first)]
        found.insert(0, Bucket(0.0, native.zeros))
        if (run := native.negative or BucketRun()).counts:
            below = enumerate(run.counts, run.first - 1)
            found = [*reversed([Bucket(-native.upper_bound(index), number) for index, number in below]), *found]
        return [bucket for bucket in found if bucket.number]


def add_each(histograms: Mapping[str, Histogram], values: Mapping[str, float]) -> None:
    """Observe one value in the histogram of each name."""
    for name, value in values.items():
        histograms[name].add(value)
