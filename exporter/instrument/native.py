"""The buckets of Prometheus' native histograms: each is the same ratio wider than the one before. Pure."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from math import frexp

# Buckets of schema n grow by 2 ** (2 ** -n). Those of schema 3 grow by 9 %, so a quantile is off by 9 % at most, while
# classic buckets here grow by 100 to 150 %. Schema 4 and 5 would double and quadruple the buckets for the same values.
SCHEMA = 3
# With more buckets from the least to the greatest value, two and two become one: 160 of schema 3 reach over a ratio of
# a million, such as from a millisecond to a quarter of an hour, and 160 of schema 2 over its square.
BUCKETS_MAX = 160
SCHEMA_MIN = -4
# Values nearer to 0 are in the bucket of zeros. It is that of client_golang, so histograms of all programs add up.
ZERO_THRESHOLD = 2.0**-128
# The upper bounds of buckets from 0.5 to 1, which is where `frexp` puts each number.
_STEPS = 2**SCHEMA
_FRACTIONS = tuple(0.5 * 2 ** (step / _STEPS) for step in range(_STEPS))


class BucketRun:
    """Counts of adjacent buckets, from that with the index `first` on; some of them may be empty.

    A list rather than a dict: it takes a third of the memory, and is one span of a message as it is.
    """

    __slots__ = ("counts", "first")

    def __init__(self) -> None:
        self.first = 0
        self.counts: list[int] = []

    def length_with(self, index: int) -> int:
        """Return the number of buckets if that of the index is one of them."""
        if not self.counts:
            return 1
        return max(self.first + len(self.counts), index + 1) - min(self.first, index)

    def extend(self, index: int, times: int) -> None:
        """Count values in a bucket before or after the others."""
        if not self.counts:
            self.first, self.counts = index, [times]
        elif index < self.first:
            self.first, self.counts = index, [times, *[0] * (self.first - index - 1), *self.counts]
        else:
            self.counts += [*[0] * (index - self.first - len(self.counts)), times]

    def pair(self) -> None:
        """Make two buckets into one that is twice as wide in the logarithm."""
        first = (self.first + 1) >> 1
        counts = [0] * (((self.first + len(self.counts)) >> 1) - first + 1)
        for index, number in enumerate(self.counts, self.first):
            counts[((index + 1) >> 1) - first] += number
        self.first, self.counts = first, counts if self.counts else []


@lru_cache(4096)
def _upper_bound(index: int, schema: int) -> float:
    try:
        return float(2.0 ** (index * 2.0**-schema))
    except OverflowError:
        return float("inf")


class NativeBuckets:
    """Counts of values by bucket: those of `positive` and `negative` values, and `zeros`.

    The bucket with index i ends at 2 ** (i / 2 ** schema), which it includes.
    """

    __slots__ = ("_shift", "negative", "positive", "zeros")

    def __init__(self) -> None:
        self.positive = BucketRun()
        self.negative: BucketRun | None = None  # None before there are any
        self.zeros = 0
        self._shift = 0

    @property
    def schema(self) -> int:
        """The present schema, from `SCHEMA` down to `SCHEMA_MIN`."""
        return SCHEMA - self._shift

    @property
    def count(self) -> int:
        """The number of values."""
        return self.zeros + sum(self.positive.counts) + (sum(self.negative.counts) if self.negative else 0)

    def add(self, value: float, times: int = 1) -> None:
        """Observe a finite value `times` times."""
        run = self.positive
        if value <= ZERO_THRESHOLD:
            if value >= -ZERO_THRESHOLD:
                self.zeros += times
                return
            value = -value
            run = self.negative = self.negative or BucketRun()
        fraction, exponent = frexp(value)
        # Index at schema 3; a lower one is its ceiling after division by a power of two.
        index = -((-bisect_left(_FRACTIONS, fraction) - (exponent - 1) * _STEPS) >> self._shift)
        place = index - run.first
        if 0 <= place < len(run.counts):
            run.counts[place] += times
        else:
            self._open(run, index, times)

    def index(self, value: float) -> int:
        """Return the index of the bucket of a positive value."""
        fraction, exponent = frexp(value)
        index: int = -((-bisect_left(_FRACTIONS, fraction) - (exponent - 1) * _STEPS) >> self._shift)
        return index

    def add_at(self, index: int, times: int) -> None:
        """Observe values of one bucket, by its index at the present schema."""
        run, place = self.positive, index - self.positive.first
        if 0 <= place < len(run.counts):
            run.counts[place] += times
        else:
            self._open(run, index, times)

    def upper_bound(self, index: int) -> float:
        """Return where the bucket of this index ends, which is where the next one begins; infinite for the last one."""
        return _upper_bound(index, self.schema)

    def _open(self, run: BucketRun, index: int, times: int) -> None:
        """Count values in a bucket that is new, with a lower schema if there would be too many."""
        while run.length_with(index) > BUCKETS_MAX and self.schema > SCHEMA_MIN:
            self._shift += 1
            index = (index + 1) >> 1
            for each in (self.positive, self.negative):
                if each is not None:
                    each.pair()
        place = index - run.first
        if 0 <= place < len(run.counts):  # where others are already, with the lower schema
            run.counts[place] += times
        else:
            run.extend(index, times)
