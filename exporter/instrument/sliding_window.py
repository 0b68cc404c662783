"""Statistics of the values of the last minutes, in bounded memory. Pure: times are arguments.

New values are kept as they are. When there are many, or after a tenth of the window, they are counted by their first
binary digits, in a slice of the window; a quantile is then at most 0.8 % beside the true one. A slice is dropped as a
whole, so the window has all values of its last nine tenths, and none from before it.
"""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate
from struct import pack, unpack

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
SLICES = 10
# Sign, exponent and 7 digits of the significand: the upper half of a number of 32 bits. Taking it from whole arrays
# costs a third of a logarithm for each value.
_UPPER = 1 if sys.byteorder == "little" else 0
_SIGN = 0x8000
_INFINITE = 0x7F80


class _Slice:
    """Values of a tenth of the window, counted by their first digits."""

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.counts = Counter[int]()
        self.number = 0
        self.sum = 0.0
        self.least = math.inf
        self.most = -math.inf
        self.is_closed = False

    def add(self, values: Sequence[float]) -> None:
        """Count values, none of them NaN."""
        self.counts.update(memoryview(array("f", values)).cast("B").cast("H")[_UPPER::2].tolist())
        self.number += len(values)
        self.sum += sum(values)
        self.least = min(self.least, min(values))
        self.most = max(self.most, max(values))

    def close(self) -> None:
        """Drop a digit: half the memory, and still within 1 %."""
        coarse = Counter[int]()
        for key, number in self.counts.items():
            # The odd one of two neighbours begins in the middle of both.
            coarse[key | 1 if _is_usual(key) else key] += number
        self.counts, self.is_closed = coarse, True

    def weighted(self) -> Iterable[tuple[float, int]]:
        """Return values and how often each was seen."""
        rest = 0 if self.is_closed else 0x8000
        return [(_value(key, rest), number) for key, number in self.counts.items()]


def _is_usual(key: int) -> bool:
    return key & ~_SIGN not in (0, _INFINITE)


def _value(key: int, rest: int) -> float:
    """Return the number with these upper and lower 16 bits; zero and infinity have no digits."""
    bits = key << 16 | (rest if _is_usual(key) else 0)
    value: float = unpack("=f", pack("=I", bits))[0]
    return value


class SlidingWindow:
    """The values of the last `max_age` seconds, of which at most `max_samples` numbers are kept.

    Where the memory does not suffice for all, the oldest go first. `add` may be called by several threads; `lock` is
    that of the other calls. NaN is no value. Quantiles of numbers beyond 1e-38 and 3e38 are zero and infinity.
    `fresh`, a list that stays the same, `fresh_max` and `due` are for callers that do by themselves what `add` does.
    """

    def __init__(self, max_age: float, max_samples: int, lock: AbstractContextManager[object] | None = None) -> None:
        if not 0 < max_age < math.inf:
            raise ValueError(f"max_age is a number of seconds above 0, not {max_age!r}")
        if max_samples < 4:
            raise ValueError(f"max_samples is at least 4, not {max_samples!r}")
        self._max_age = max_age
        self._slice_seconds = max_age / SLICES
        self.fresh_max = max_samples // 4
        self._compact_max = max_samples - self.fresh_max
        self._lock = nullcontext() if lock is None else lock
        self.fresh: list[float] = []
        self._begin = self.due = -math.inf
        self._slices = deque[_Slice]()

    def add(self, value: float, now: float) -> None:
        """Add a value at `now` (monotonic seconds)."""
        if now >= self.due or len(self.fresh) >= self.fresh_max:
            self.turn(now)
        self.fresh.append(value)

    def kept(self) -> int:
        """Return how many numbers are kept."""
        return len(self.fresh) + sum([len(each.counts) for each in self._slices])

    def quantile(self, q: float, now: float) -> float:
        """Return the q-quantile, interpolated between neighbours as by numpy; NaN without values."""
        with self._lock:
            self._drop_old(now)
            return self._quantiles([q])[0]

    def quantiles(self, now: float) -> dict[float, float]:
        """Return the quantiles that are shown."""
        with self._lock:
            self._drop_old(now)
            return dict(zip(QUANTILES.values(), self._quantiles(list(QUANTILES.values())), strict=True))

    def statistics(self, now: float) -> dict[str, float]:
        """Return count, sum, mean, min, max, p50, p95 and p99; without values all but count and sum are NaN."""
        with self._lock:
            self._drop_old(now)
            fresh = _Slice(now)
            if values := _numbers(self.fresh[:]):
                fresh.add(values)
            quantiles = self._quantiles(list(QUANTILES.values()))
            slices = [*self._slices, fresh]
        number, total = sum([each.number for each in slices]), sum([each.sum for each in slices])
        least, most = min([each.least for each in slices]), max([each.most for each in slices])
        found = {"count": number, "sum": total, "mean": total / number if number else math.nan}
        found |= {"min": least if number else math.nan, "max": most if number else math.nan}
        return found | dict(zip(QUANTILES, quantiles, strict=True))

    def turn(self, now: float) -> None:
        """Begin to collect values again, after those there are were compacted."""
        with self._lock:
            if now < self.due and len(self.fresh) < self.fresh_max:
                return  # another thread did
            self._compact()
            self._drop_old(now)
            self._begin, self.due = now, now + self._slice_seconds

    def _compact(self) -> None:
        taken = self.fresh[:]
        # Others may append meanwhile: to this list, behind what was taken.
        del self.fresh[: len(taken)]
        if values := _numbers(taken):
            self._open_slice().add(values)
        while sum([len(each.counts) for each in self._slices]) > self._compact_max:
            self._slices.popleft()

    def _open_slice(self) -> _Slice:
        last = self._slices[-1] if self._slices else None
        if last and self._begin - last.begin < self._slice_seconds and len(last.counts) < self.fresh_max:
            return last
        if last:
            last.close()
        self._slices.append(_Slice(self._begin))
        return self._slices[-1]

    def _drop_old(self, now: float) -> None:
        oldest = now - self._max_age
        while self._slices and self._slices[0].begin < oldest:
            self._slices.popleft()
        if self._begin < oldest:
            self.fresh.clear()
            self.due = -math.inf

    def _quantiles(self, wanted: Sequence[float]) -> list[float]:
        weights = Counter[float](_numbers(self.fresh[:]))
        least, most = min(weights, default=math.inf), max(weights, default=-math.inf)
        for each in self._slices:
            least, most = min(least, each.least), max(most, each.most)
            for value, number in each.weighted():
                weights[value] += number
        if not weights:
            return [math.nan] * len(wanted)
        values = sorted(weights)
        ends = list(accumulate([weights[value] for value in values]))
        return [max(least, min(most, _interpolated(q, values, ends))) for q in wanted]


def _interpolated(q: float, values: Sequence[float], ends: Sequence[int]) -> float:
    """Return a quantile of sorted values, of which `ends` are the numbers up to and with each."""
    position = q * (ends[-1] - 1)
    rank = math.floor(position)
    below = values[bisect_right(ends, rank)]
    above = values[bisect_right(ends, min(rank + 1, ends[-1] - 1))]
    share = position - rank
    return below if below == above or not share else below * (1 - share) + above * share


def _numbers(values: list[float]) -> list[float]:
    """Return the values that are not NaN: one of them makes the sum NaN, too."""
    return values if (total := sum(values)) == total else [value for value in values if value == value]
