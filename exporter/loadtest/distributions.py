"""Latencies counted in buckets that can be added up, with quantiles within 1 %. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from exporter.instrument.histogram import Bounds, Histogram
from exporter.instrument.quantiles import quantile
from exporter.loadtest.results import Bucket, Distribution

# Each bucket is 1 % wider than the one before: from a microsecond to a day in 2,500 of them, 20 KB for each histogram.
_GROWTH, _FROM_MS, _TO_MS = 1.01, 0.001, 86_400_000.0
QUANTILES = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}


def _upper_bounds() -> Iterable[float]:
    bound = _FROM_MS
    while bound < _TO_MS:
        yield bound
        bound *= _GROWTH


_BOUNDS = Bounds(_upper_bounds())


class LatencyHistogram:
    """Latencies in milliseconds. One thread adds; what is negative, by clocks of two machines, counts as 0."""

    __slots__ = ("_histogram", "max")

    def __init__(self) -> None:
        self._histogram = Histogram(_BOUNDS)
        self.max = 0.0

    @classmethod
    def of(cls, distribution: Distribution) -> LatencyHistogram:
        """Return the histogram that a distribution with its buckets was made from."""
        histogram = cls()
        for bucket in distribution.buckets:
            # The upper bound of the last one may be the greatest latency in it.
            histogram._histogram.buckets[bisect_left(_BOUNDS.values, bucket.upper_ms)] += bucket.count
        histogram._histogram.sum, histogram.max = distribution.mean * distribution.count, distribution.max
        return histogram

    @property
    def count(self) -> int:
        """The number of latencies."""
        return self._histogram.count

    def add(self, ms: float, times: int = 1) -> None:
        """Count a latency `times` times."""
        ms = max(0.0, ms)
        self._histogram.add(ms, times)
        self.max = max(self.max, ms)

    def merge(self, other: LatencyHistogram) -> None:
        """Add the latencies of another histogram."""
        own, others = self._histogram, other._histogram
        own.buckets = [one + more for one, more in zip(own.buckets, others.buckets, strict=True)]
        own.sum += others.sum
        self.max = max(self.max, other.max)

    def quantile(self, q: float) -> float | None:
        """Return the q-quantile in milliseconds, within 1 %; None without latencies."""
        found = quantile(q, _BOUNDS.values, self._histogram.buckets)
        return None if found is None else min(found, self.max)

    def distribution(self) -> Distribution | None:
        """Return the figures, None without latencies."""
        count = self.count
        if not count:
            return None
        quantiles = {name: self.quantile(q) or 0.0 for name, q in QUANTILES.items()}
        filled = zip(_BOUNDS.shown, self._histogram.buckets, strict=True)
        buckets = tuple(Bucket(upper_ms=min(upper, self.max), count=number) for upper, number in filled if number)
        return Distribution(count=count, mean=self._histogram.sum / count, max=self.max, buckets=buckets, **quantiles)


def merged(distributions: Iterable[Distribution]) -> Distribution | None:
    """Return one distribution of the latencies of several; None without any."""
    whole = LatencyHistogram()
    for each in distributions:
        whole.merge(LatencyHistogram.of(each))
    return whole.distribution()
