"""The reports of all processes of Locust as the result of a target. Pure: times are arguments."""

from __future__ import annotations

from collections import Counter

from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.http.plan import Done, Kind, Report
from exporter.loadtest.measured import measured
from exporter.loadtest.results import Part, TargetResult
from exporter.loadtest.target import Counts
from exporter.loadtest.timeline import Timeline
from exporter.loadtest.trace import Trace

# Errors of a sidecar that does not run.
AWAY = {"connection refused"}


class _Part:
    """Requests of one kind."""

    def __init__(self) -> None:
        self.latencies, self.errors = LatencyHistogram(), Counter[str]()

    def result(self, name: str) -> Part:
        """Return the result of these requests."""
        count, latency = self.latencies.count, self.latencies.distribution()
        return Part(name=name, answered=count, errors=dict(self.errors), latency=latency)


class Totals:
    """What was requested and answered since the start of a run of `run_seconds`; one thread adds."""

    def __init__(self, run_seconds: float = 0.0) -> None:
        self.lag = LatencyHistogram()
        self.pids: list[int] = []
        self.last = 0.0
        self.away_since: float | None = None
        self._parts: dict[str, _Part] = {}
        self._latencies, self._timeline = LatencyHistogram(), Timeline(run_seconds)
        self._counts = Counts()
        self._overdue = self._received_bytes = 0
        self.trace, self.lag_trace = Trace(), Trace()
        self.served, self.served_ms, self.transfer_ms = 0, 0.0, 0.0
        self.errors = Counter[str]()
        self._done = Counter[int]()
        self._started = 0.0

    def start(self, started: float) -> None:
        """Set time 0, as `time.monotonic` gives it."""
        self._started = started

    def done(self, step: int) -> int:
        """Return how many processes have all answers of a step."""
        return self._done[step]

    def counts(self) -> Counts:
        """Return what has happened so far; any thread may call this."""
        return self._counts._replace(latency=self._latencies.distribution())

    def add(self, report: Report | Done) -> None:
        """Add what a process reports."""
        if isinstance(report, Done):
            self._done[report.number] += 1
            return
        at = max(0.0, report.at - self._started)
        self.last = max(self.last, at)
        if report.pid not in self.pids:
            self.pids.append(report.pid)
        latencies, errors = LatencyHistogram(), Counter[str]()
        for name, kind in report.kinds.items():
            self._add_kind(name, kind)
            errors.update(kind.errors)
            for ms in kind.latencies:
                latencies.add(ms)
        for ms in report.lags:
            self.lag.add(ms)
        self.lag_trace.extend([due - self._started for due in report.lag_dues], report.lags)
        self._latencies.merge(latencies)
        self._timeline.merge(at, latencies, errors.total())
        self._count(report, latencies.count, errors, at)

    def _add_kind(self, name: str, kind: Kind) -> None:
        part = self._parts.setdefault(name, _Part())
        part.errors.update(kind.errors)
        for ms in kind.latencies:
            part.latencies.add(ms)
        self.trace.extend([due - self._started for due in kind.dues], kind.latencies)

    def _count(self, report: Report, answered: int, errors: Counter[str], at: float) -> None:
        before = self._counts
        self._overdue += report.overdue
        self._received_bytes += report.received_bytes
        self.served += report.served
        self.served_ms += report.served_ms
        self.transfer_ms += report.transfer_ms
        self.errors.update(errors)
        self._counts = Counts(
            before.sent + report.sent + report.overdue, before.answered + answered, before.failed + errors.total()
        )
        if answered or errors.keys() - AWAY:
            self.away_since = None
        elif errors and self.away_since is None:
            self.away_since = at

    def result(self, seconds: float, wanted_per_second: float | None, connections: int) -> TargetResult:
        """Return the result; requests were sent for so many seconds."""
        counts = self.counts()
        return measured(
            "http",
            "requests",
            seconds,
            counts,
            dict(self.errors.most_common()),
            self._timeline,
            self.last,
            unanswered=max(0, counts.sent - counts.answered - counts.failed),
            wanted_per_second=wanted_per_second,
            parts=tuple(part.result(name) for name, part in sorted(self._parts.items())),
            connections=connections,
            bytes_received=self._received_bytes,
            notes=self._notes(),
        )

    def _notes(self) -> tuple[str, ...]:
        if not self._overdue:
            return ()
        return (f"{self._overdue:,} of the requests without an answer were due and not sent: their users still waited",)
