"""Requests of several threads to one target: answers, errors by kind, latencies. Times are arguments."""

from __future__ import annotations

import threading
from collections import Counter

from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.results import Distribution, Part
from exporter.loadtest.target import Counts
from exporter.loadtest.timeline import Timeline
from exporter.loadtest.trace import Trace

# Texts of errors may contain numbers: what exceeds so many kinds is one.
_KINDS_MAX = 20
OTHER = "other errors"


class _Kind:
    def __init__(self) -> None:
        self.latencies = LatencyHistogram()
        self.errors = Counter[str]()


class Recorder:
    """Counts of requests by name, in seconds after the start of a run of `run_seconds`."""

    def __init__(self, run_seconds: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[str, _Kind] = {}
        self.timeline, self.lag = Timeline(run_seconds), LatencyHistogram()
        self.trace, self.lag_trace = Trace(), Trace()
        self.latencies = LatencyHistogram()
        self.errors = Counter[str]()
        self.sent = 0
        self.failing_since: float | None = None  # since the last answer

    def begin(self, possible: float, at: float) -> None:
        """Count a request that is sent now; it was due, and its connection free, at `possible`."""
        with self._lock:
            self.sent += 1
            self.lag.add((at - possible) * 1000)
            self.lag_trace.add(possible, (at - possible) * 1000)

    def answered(self, name: str, due: float, at: float) -> None:
        """Count an answer."""
        with self._lock:
            ms = (at - due) * 1000
            self.trace.add(due, ms)
            self.latencies.add(ms)
            self._kind(name).latencies.add(ms)
            self.timeline.answered(at, ms)
            self.failing_since = None

    def failed(self, name: str, error: str, at: float) -> None:
        """Count an error."""
        with self._lock:
            if error not in self.errors and len(self.errors) >= _KINDS_MAX:
                error = OTHER
            self.errors[error] += 1
            if self.failing_since is None:
                self.failing_since = at
            self._kind(name).errors[error] += 1
            self.timeline.failed(at)

    def counts(self) -> Counts:
        """Return what has happened so far."""
        with self._lock:
            latency = self.latencies.distribution()
            return Counts(self.sent, self.latencies.count, self.errors.total(), latency)

    def latency(self) -> Distribution | None:
        """Return the latencies so far."""
        with self._lock:
            return self.latencies.distribution()

    def parts(self) -> tuple[Part, ...]:
        """Return the requests by name."""
        with self._lock:
            return tuple(
                Part(
                    name=name,
                    answered=kind.latencies.count,
                    errors=dict(kind.errors),
                    latency=kind.latencies.distribution(),
                )
                for name, kind in sorted(self._kinds.items())
            )

    def _kind(self, name: str) -> _Kind:
        return self._kinds.setdefault(name, _Kind())
