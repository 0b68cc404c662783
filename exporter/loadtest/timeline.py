"""Answers and errors of each second of a run, or of some of a long one. Pure: times are arguments."""

from __future__ import annotations

import math

from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.results import Interval, Slice
from exporter.loadtest.slices import Slices

# An hour of seconds: what is longer, for days perhaps, would fill memory and reports.
INTERVALS_MAX = 3600


class Timeline:
    """Counts by the second in which an answer came, in seconds after the start of the run. One thread at a time adds.

    A time before that of an earlier call counts in the second of the later one. Of a run that is to last longer than
    `INTERVALS_MAX` seconds, intervals of some seconds take their place.
    """

    def __init__(self, run_seconds: float = 0.0) -> None:
        self._seconds = max(1, math.ceil(run_seconds / INTERVALS_MAX))
        self._closed: list[Interval] = []
        self._slices = Slices()
        self._latencies, self._errors = LatencyHistogram(), 0

    def answered(self, at: float, ms: float) -> None:
        """Count an answer."""
        self._close_before(at)
        self._latencies.add(ms)

    def failed(self, at: float) -> None:
        """Count an error."""
        self._close_before(at)
        self._errors += 1

    def merge(self, at: float, latencies: LatencyHistogram, errors: int) -> None:
        """Count answers and errors that another process has counted."""
        self._close_before(at)
        self._latencies.merge(latencies)
        self._errors += errors

    def intervals(self, until: float) -> tuple[Interval, ...]:
        """Return the seconds from the start; a second that `until` is in is returned if it has anything."""
        self._close_before(until)
        if self._latencies.count or self._errors:
            return (*self._closed, self._interval())
        return tuple(self._closed)

    def slices(self) -> tuple[Slice, ...]:
        """Return the pieces by which runs are compared, of whole seconds: what the last `intervals` has closed."""
        return self._slices.slices()

    def _close_before(self, at: float) -> None:
        number = int(at / self._seconds)
        while len(self._closed) < number:
            self._slices.add(len(self._closed) * self._seconds, self._latencies, self._errors)
            self._closed.append(self._interval())
            if self._latencies.count:
                self._latencies = LatencyHistogram()
            self._errors = 0

    def _interval(self) -> Interval:
        at, seconds = float(len(self._closed) * self._seconds), float(self._seconds)
        found = self._latencies.distribution()
        if found is None:
            return Interval(at=at, seconds=seconds, count=0, errors=self._errors)
        return Interval(
            at=at,
            seconds=seconds,
            count=found.count,
            errors=self._errors,
            mean=found.mean,
            p50=found.p50,
            p95=found.p95,
            p99=found.p99,
            max=found.max,
        )
