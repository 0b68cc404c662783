"""A stress test of Kafka and a sidecar: steps of rising rates, until messages arrive later and later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.kafka.ledger import Trace
from exporter.loadtest.kafka.target import KafkaTarget
from exporter.loadtest.results import Step
from exporter.loadtest.run_clock import RunClock
from exporter.loadtest.schedule import Schedule
from exporter.loadtest.search import Search, trend

_POLL_SECONDS = 0.05
# Until the threads have taken the schedule.
_BEGIN_SECONDS = 0.1


class Window(NamedTuple):
    """A part of a run in its seconds."""

    begin: float
    end: float


class Stress:
    """The steps of a stress test, each of `step_seconds`, in the thread that calls `run`."""

    def __init__(
        self,
        target: KafkaTarget,
        clock: RunClock,
        first_rate: float,
        step_seconds: float,
        p95_ms: float,
        show: Callable[[str], None],
    ) -> None:
        self._target, self._clock, self._show = target, clock, show
        self._seconds, self._p95_ms = step_seconds, p95_ms
        self.search = Search(first_rate)
        self.is_late = False
        self.broken: Window | None = None

    def run(self, stopping: threading.Event) -> None:
        """Make steps until the breaking point is known, or `stopping` is set."""
        self._target.keep_traces()
        while not (stopping.is_set() or self.is_late):
            rate = self.search.next_rate()
            if rate is None:
                return
            self._step(rate, stopping)

    def _step(self, rate: float, stopping: threading.Event) -> None:
        target, begin = self._target, self._clock.now() + _BEGIN_SECONDS
        end = begin + self._seconds
        target.clear_traces()
        target.send(Schedule(rate), begin, self._seconds)
        while target.is_sending and not stopping.wait(_POLL_SECONDS):
            if target.failure() is not None:  # which ends the run
                stopping.wait()
                return
        arrived = target.drain()
        if not stopping.is_set():
            self._judge(rate, Window(begin, end), arrived)

    def _judge(self, rate: float, window: Window, has_arrived: bool) -> None:
        target = self._target
        trace, lag = target.arrivals.trace, target.ledger.lag_trace
        found, own = (trend(each.due, each.ms, *window) for each in (trace, lag))
        reason = ""
        if own is not None and own.is_rising:
            reason, self.is_late = "the load test cannot send faster", True
        elif found is None or not has_arrived:
            reason = "messages did not arrive"
        elif found.is_rising:
            reason = f"each second messages arrive {1000 * found.rise:,.0f} ms later"
        elif (p95 := _quantile(trace, 0.95)) is not None and p95 > self._p95_ms:
            reason = f"p95 is {p95:,.0f} ms, more than {self._p95_ms:,.0f}"
        if reason and not self.is_late:
            self.broken = window
        step = self._result(rate, window, trace, reason)
        self.search.add(step)
        self._show(f"{rate:,.0f} messages/s {(reason and 'broke: ' + reason) or 'held'}")

    def _result(self, rate: float, window: Window, trace: Trace, reason: str) -> Step:
        seconds = window.end - window.begin
        # Until the last one arrived, which is after the end when they wait.
        arrived = max((due + ms / 1000 for due, ms in zip(trace.due, trace.ms, strict=True)), default=window.end)
        return Step(
            wanted_per_second=rate,
            sent_per_second=len(self._target.ledger.lag_trace.due) / seconds,
            arrived_per_second=len(trace.due) / max(seconds, arrived - window.begin),
            p99=_quantile(trace, 0.99),
            held=not reason,
            reason=reason,
        )


def _quantile(trace: Trace, q: float) -> float | None:
    histogram = LatencyHistogram()
    for ms in trace.ms:
        histogram.add(ms)
    return histogram.quantile(q)
