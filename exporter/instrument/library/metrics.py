"""The metrics that programs use. All methods may be called by several threads.

A metric has the labels it was made with; those of a call are added to them, and win. A first call with the labels of
the metric itself finds its series, and later ones go there directly: they cost what prometheus-client's own call costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import pairwise
from time import monotonic
from typing import Any, Generic, TypeVar

import prometheus_client

from exporter.instrument.library.family import Family, Labels, WindowedSummary
from exporter.instrument.library.rules import OfThisProcess
from exporter.instrument.quantiles import quantile
from exporter.instrument.sliding_window import QUANTILES, SlidingWindow

S = TypeVar("S")


class _Labelled(OfThisProcess, Generic[S]):
    """A family, and labels of it."""

    __slots__ = ("_family", "_labels", "name")

    def __init__(self, family: Family[S], labels: Labels | None) -> None:
        self.name = family.name
        self._family = family
        self._labels = dict(labels or {})
        family.announce(self._labels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, labels={self._labels!r})"

    def _series(self, labels: Labels) -> S:
        return self._family.series({**self._labels, **labels} if self._labels else labels)[0]

    def _own(self) -> tuple[S, bool]:
        """Return the series of the labels of the metric itself, and whether that may be kept."""
        return self._family.series(self._labels)

    def _find(self, labels: Labels | None) -> S | None:
        return self._family.find({**self._labels, **(labels or {})})


class Counter(_Labelled[prometheus_client.Counter]):
    """A number that only grows, such as that of requests."""

    __slots__ = ("_increment",)

    def __init__(self, family: Family[prometheus_client.Counter], labels: Labels | None = None) -> None:
        super().__init__(family, labels)
        self._increment: Callable[[float], None] = self._first_increment

    def increment(self, amount: float = 1, labels: Labels | None = None) -> None:
        """Add an amount; raise `ValueError` for one below 0."""
        if labels is None:
            self._increment(amount)
        else:
            self._series(labels).inc(amount)

    def get_value(self, labels: Labels | None = None) -> float:
        """Return the present value, that of this process; 0 for labels that were not used."""
        return _value(self._find(labels))

    def _first_increment(self, amount: float) -> None:
        series, is_own = self._own()
        if is_own:
            self._increment = series.inc
        series.inc(amount)


class Gauge(_Labelled[prometheus_client.Gauge]):
    """A number that rises and falls, such as that of open connections."""

    __slots__ = ("_increment", "_set")

    def __init__(self, family: Family[prometheus_client.Gauge], labels: Labels | None = None) -> None:
        super().__init__(family, labels)
        self._set: Callable[[float], None] = self._first_set
        self._increment: Callable[[float], None] = self._first_increment

    def set(self, value: float, labels: Labels | None = None) -> None:
        """Set the value."""
        if labels is None:
            self._set(value)
        else:
            self._series(labels).set(value)

    def increment(self, amount: float = 1, labels: Labels | None = None) -> None:
        """Add an amount."""
        if labels is None:
            self._increment(amount)
        else:
            self._series(labels).inc(amount)

    def decrement(self, amount: float = 1, labels: Labels | None = None) -> None:
        """Subtract an amount."""
        if labels is None:
            self._increment(-amount)
        else:
            self._series(labels).dec(amount)

    def get_value(self, labels: Labels | None = None) -> float:
        """Return the present value, that of this process; 0 for labels that were not used."""
        return _value(self._find(labels))

    def _first_set(self, value: float) -> None:
        self._keep().set(value)

    def _first_increment(self, amount: float) -> None:
        self._keep().inc(amount)

    def _keep(self) -> prometheus_client.Gauge:
        series, is_own = self._own()
        if is_own:
            self._set, self._increment = series.set, series.inc
        return series


class Histogram(_Labelled[prometheus_client.Histogram]):
    """Values counted in buckets, which Prometheus can add up over processes."""

    __slots__ = ("_observe",)

    def __init__(self, family: Family[prometheus_client.Histogram], labels: Labels | None = None) -> None:
        super().__init__(family, labels)
        self._observe: Callable[[float], None] = self._first_observe

    def observe(self, value: float, labels: Labels | None = None) -> None:
        """Count a value."""
        if labels is None:
            self._observe(value)
        else:
            self._series(labels).observe(value)

    def get_quantile(self, q: float, labels: Labels | None = None) -> float:
        """Return the q-quantile as `histogram_quantile` estimates it, of the values of this process; NaN without any.

        Raises `ValueError` for a `q` that is not from 0 to 1.
        """
        _check(q)
        bounds, counts = _buckets(self._find(labels))
        if bounds and bounds[0] <= 0 and counts[0] and counts[0] >= q * sum(counts):
            return bounds[0]  # as Prometheus does: where the lowest bucket begins is not known
        found = quantile(q, bounds, counts)
        return math.nan if found is None else found

    def _first_observe(self, value: float) -> None:
        series, is_own = self._own()
        if is_own:
            self._observe = series.observe
        series.observe(value)


class Summary(_Labelled[WindowedSummary]):
    """Values of a sliding window with their quantiles, which cannot be added up over processes."""

    __slots__ = ("_count", "_count_lock", "_kept", "_sum", "_sum_lock", "_window")

    def __init__(self, family: Family[WindowedSummary], labels: Labels | None = None) -> None:
        super().__init__(family, labels)
        self._kept: WindowedSummary | None = None
        self._window: SlidingWindow | None = None
        self._count: Any = None
        self._sum: Any = None
        self._count_lock: AbstractContextManager[object] = nullcontext()
        self._sum_lock: AbstractContextManager[object] = nullcontext()

    def observe(self, value: float, labels: Labels | None = None) -> None:
        """Count a value, and add it to the window."""
        window = self._window
        if labels is None and window is not None:
            # What prometheus-client's `observe` and `SlidingWindow.add` do: their calls take a third of the time.
            with self._count_lock, self._sum_lock:
                self._sum._value += value
                self._count._value += 1
            if (now := monotonic()) >= window.due or len(window.fresh) >= window.fresh_max:
                window.turn(now)
            window.fresh.append(value)
            return
        summary, window = self._first() if labels is None else self._series(labels)
        summary.observe(value)
        window.add(value, monotonic())

    def get_statistics(self, labels: Labels | None = None) -> dict[str, float]:
        """Return count, sum, mean, min, max, p50, p95 and p99 of the window; without values count and sum are 0.

        All others are NaN then.
        """
        if series := self._find(labels):
            return series.window.statistics(monotonic())
        return {"count": 0, "sum": 0.0, **dict.fromkeys(["mean", "min", "max", *QUANTILES], math.nan)}

    def get_quantile(self, q: float, labels: Labels | None = None) -> float:
        """Return the q-quantile of the window, within 1 %; NaN without values.

        Raises `ValueError` for a `q` that is not from 0 to 1.
        """
        _check(q)
        series = self._find(labels)
        return series.window.quantile(q, monotonic()) if series else math.nan

    def _first(self) -> WindowedSummary:
        if self._kept is not None:
            return self._kept
        series, is_own = self._own()
        if is_own:
            self._kept = series
            with suppress(AttributeError):  # of multiprocess mode, or another version of prometheus-client
                summary: Any = series.summary
                self._count, self._sum = summary._count, summary._sum
                self._count_lock, self._sum_lock = self._count._lock, self._sum._lock
                if isinstance(self._count._value, float):
                    self._window = series.window  # last: another thread may observe meanwhile
        return series


def _value(child: Any) -> float:
    return 0.0 if child is None else float(next(iter(child.collect())).samples[0].value)


def _buckets(child: prometheus_client.Histogram | None) -> tuple[list[float], list[int]]:
    """Return the bounds of buckets but the last, and how many values each bucket has."""
    if child is None:
        return [], [0]
    found = [each for each in next(iter(child.collect())).samples if "le" in each.labels]
    sums = [0, *(int(each.value) for each in found)]
    return [float(each.labels["le"]) for each in found[:-1]], [after - before for before, after in pairwise(sums)]


def _check(q: Any) -> None:
    if not 0 <= q <= 1:
        raise ValueError(f"a quantile is from 0 to 1, not {q!r}")
