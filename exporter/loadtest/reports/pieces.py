"""Two runs in pieces of equal length that can be exchanged, and the figures of sums of pieces. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from math import log
from typing import NamedTuple

from exporter.loadtest.results import Bucket, Slice, TargetResult

# A number for each bucket of a histogram, side by side in one integer: adding histograms is adding integers, which is
# 50 times as fast as adding lists of numbers.
_FIELD_BYTES = 8


class Sums:
    """All that came in some seconds; `bounds` are the upper bounds of the buckets in `packed`, in milliseconds."""

    def __init__(
        self, bounds: Sequence[float], seconds: float, count: int, total_ms: float, errors: int, packed: int
    ) -> None:
        self._bounds, self._packed = bounds, packed
        self.seconds, self.count, self.total_ms, self.errors = seconds, count, total_ms, errors

    @cached_property
    def _below(self) -> list[int]:
        """How many latencies are up to each bound."""
        counts = array("Q")
        counts.frombytes(self._packed.to_bytes(_FIELD_BYTES * len(self._bounds), "little"))
        return list(accumulate(counts))

    def quantile(self, q: float) -> float | None:
        """Return the q-quantile in milliseconds, within the width of a bucket; None without latencies."""
        return self._bounds[bisect_left(self._below, q * self.count)] if self.count else None

    def mean(self) -> float | None:
        """Return the mean in milliseconds; None without latencies."""
        return self.total_ms / self.count if self.count else None

    def per_second(self) -> float | None:
        """Return the answers a second."""
        return self.count / self.seconds if self.seconds else None

    def errors_ratio(self) -> float | None:
        """Return the share of errors in what was answered or failed; None if nothing was."""
        whole = self.count + self.errors
        return self.errors / whole if whole else None


class Figure(NamedTuple):
    """What is compared: `is_share` figures differ by their difference, others by their ratio."""

    name: str
    unit: str
    value: Callable[[Sums], float | None]
    is_more_better: bool = False
    is_share: bool = False

    def change(self, one: float | None, other: float | None) -> float | None:
        """Return by how much another value is more; None if that is not known."""
        if one is None or other is None:
            return None
        if self.is_share:
            return other - one
        return other / one - 1 if one > 0 else None

    def distance(self, one: float | None, other: float | None) -> float:
        """Return how far two values are apart, the same in both directions."""
        if one is None or other is None:
            return 0.0
        if self.is_share:
            return abs(other - one)
        return abs(log(other / one)) if one > 0 and other > 0 else 0.0


def _at(q: float) -> Callable[[Sums], float | None]:
    return lambda sums: sums.quantile(q)


FIGURES = (
    Figure("throughput", "per second", Sums.per_second, is_more_better=True),
    Figure("mean", "ms", Sums.mean),
    Figure("p50", "ms", _at(0.5)),
    Figure("p95", "ms", _at(0.95)),
    Figure("p99", "ms", _at(0.99)),
    Figure("p99.9", "ms", _at(0.999)),
    Figure("errors", "%", Sums.errors_ratio, is_share=True),
)

_Piece = tuple[int, float, int, int]
_NOTHING: _Piece = (0, 0.0, 0, 0)


class Pieces:
    """The same seconds of two runs, in pieces of `seconds`; each is counts, milliseconds, errors and packed buckets."""

    def __init__(self, bounds: Sequence[float], seconds: float, earlier: list[_Piece], now: list[_Piece]) -> None:
        self._bounds, self._seconds = bounds, seconds
        self._earlier, self._now = earlier, now
        self._sum_earlier, self._sum_now = _sum(earlier), _sum(now)
        self._more = [_minus(after, before) for before, after in zip(earlier, now, strict=True)]

    def __len__(self) -> int:
        return len(self._now)

    def whole(self) -> tuple[Sums, Sums]:
        """Return the sums of both runs."""
        return self._sums(self._sum_earlier), self._sums(self._sum_now)

    def exchanged(self, swap: int) -> tuple[Sums, Sums]:
        """Return the sums of both runs after the pieces whose bits are set in `swap` were exchanged."""
        moved = _sum(more for number, more in enumerate(self._more) if swap >> number & 1)
        return self._sums(_plus(self._sum_earlier, moved)), self._sums(_minus(self._sum_now, moved))

    def chosen(self, numbers: Sequence[int]) -> tuple[Sums, Sums]:
        """Return the sums of some pieces of both runs, of which each may be chosen several times."""
        return self._sums(_sum(self._earlier[n] for n in numbers)), self._sums(_sum(self._now[n] for n in numbers))

    def _sums(self, piece: _Piece) -> Sums:
        return Sums(self._bounds, self._seconds * len(self), *piece)


def aligned(earlier: TargetResult, now: TargetResult) -> Pieces:
    """Return the seconds that both runs have, in whole pieces of the length that both can have."""
    if not earlier.slices or not now.slices:
        return Pieces((), 0.0, [], [])
    seconds = max(earlier.slices[0].seconds, now.slices[0].seconds)
    bounds = sorted({bucket.upper_ms for run in (earlier, now) for each in run.slices for bucket in _buckets(each)})
    places = {bound: number for number, bound in enumerate(bounds)}
    packed = [_pieces(run, seconds, places) for run in (earlier, now)]
    length = min(map(len, packed))
    return Pieces(bounds, seconds, packed[0][:length], packed[1][:length])


def _pieces(run: TargetResult, seconds: float, places: Mapping[float, int]) -> list[_Piece]:
    """Return the pieces of a run that are complete."""
    found: list[_Piece] = []
    for each in run.slices:
        number = int(each.at / seconds)
        if (number + 1) * seconds > run.seconds + 0.5:
            break
        found += [_NOTHING] * (number + 1 - len(found))
        found[number] = _plus(found[number], _packed(each, places))
    return found


def _packed(piece: Slice, places: Mapping[float, int]) -> _Piece:
    latency = piece.latency
    if latency is None:
        return 0, 0.0, piece.errors, 0
    packed = sum(bucket.count << 8 * _FIELD_BYTES * places[bucket.upper_ms] for bucket in latency.buckets)
    return latency.count, latency.mean * latency.count, piece.errors, packed


def _buckets(piece: Slice) -> Iterable[Bucket]:
    return piece.latency.buckets if piece.latency is not None else ()


def _sum(pieces: Iterable[_Piece]) -> _Piece:
    whole = _NOTHING
    for piece in pieces:
        whole = _plus(whole, piece)
    return whole


def _plus(one: _Piece, other: _Piece) -> _Piece:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


def _minus(one: _Piece, other: _Piece) -> _Piece:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2], one[3] - other[3]
