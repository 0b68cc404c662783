"""What the users of one process of Locust have seen, in reports each second."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from exporter.loadtest.http.plan import LATENCIES_MAX, Done, Kind, Report, Step


class Recorder:
    """Counts of requests since the last report. Its users are greenlets, which take turns only when they wait.

    Nothing is due from `until` on, by `time.monotonic`. `step` is the one that users send requests of, if `is_stepped`,
    and `worker` the number of this process among those with users.
    """

    def __init__(self, send: Callable[[Report | Done], None], *, is_stepped: bool = False) -> None:
        self._send, self._is_stepped = send, is_stepped
        self._report = _empty()
        self._second = self._in_flight = 0
        self.step: Step | None = None
        self._done = self.worker = 0
        self.until = self._planned_end = math.inf

    def end_at(self, until: float) -> None:
        """Let nothing be due from a time of `time.monotonic` on."""
        self.until = self._planned_end = until

    def begin(self) -> None:
        """Begin: users send requests from now on."""
        self.until = self._planned_end

    def end(self) -> None:
        """End: what becomes due from now on is not sent, and not missed."""
        self.until = min(self.until, time.monotonic())

    def take(self, step: Step, worker: int = 0) -> None:
        """Take the next step, in the process of this number."""
        self.step, self.worker = step, max(0, worker)

    def sent(self, lag_seconds: float) -> None:
        """Count a request that is handed to the client, `lag_seconds` later than it could be."""
        self._report.sent += 1
        self._in_flight += 1
        self._report.lags.append(round(lag_seconds * 1000, 3))
        if self._is_stepped:
            self._report.lag_dues.append(time.monotonic() - lag_seconds)

    def served(self, ms: float, transfer_ms: float) -> None:
        """Count a page that was read whole, `ms` after its request was sent, and `transfer_ms` after its head came."""
        self._report.served += 1
        self._report.served_ms += ms
        self._report.transfer_ms += transfer_ms

    def answered(self, name: str, ms: float, received_bytes: int) -> None:
        """Count an answer, `ms` after its request was due."""
        self._in_flight -= 1
        kind = self._kind(name)
        kind.latencies.append(round(ms, 3))
        if self._is_stepped:
            kind.dues.append(time.monotonic() - ms / 1000)
        self._report.received_bytes += received_bytes
        if len(self._report.lags) >= LATENCIES_MAX:
            self.flush()

    def failed(self, name: str, error: str) -> None:
        """Count an error."""
        self._in_flight -= 1
        errors = self._kind(name).errors
        errors[error] = errors.get(error, 0) + 1

    def overdue(self, requests: int) -> None:
        """Count requests that were due at the end, and not sent."""
        self._report.overdue += requests

    def report_step(self) -> None:
        """Report that a step is over, once that is so: users send nothing of it after its end."""
        step = self.step
        if step is not None and step.number > self._done and time.monotonic() > step.end and not self._in_flight:
            self._done = step.number
            self.flush()
            self._send(Done(step.number, os.getpid()))

    def flush(self) -> None:
        """Send what there is; raise `OSError` when the load test has ended."""
        report, self._report = self._report, _empty()
        report.at = self._second + 0.5
        report.pid = os.getpid()  # this object is older than the process, which was forked
        self._send(report)

    def _begin_second(self) -> None:
        """Let no report be about two seconds: a busy machine may send it late."""
        second = int(time.monotonic())
        if second != self._second:
            if self._second:
                self.flush()
            self._second = second

    def _kind(self, name: str) -> Kind:
        self._begin_second()
        return self._report.kinds.setdefault(name, Kind())


def _empty() -> Report:
    return Report(at=0.0, pid=0)
