"""A stress test: steps of rising rates, until requests are answered later and later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.results import Step
from exporter.loadtest.run_clock import RunClock
from exporter.loadtest.schedule import Schedule
from exporter.loadtest.search import Search, trend
from exporter.loadtest.target import SteppedTarget
from exporter.loadtest.trace import Trace

# What a busy machine delays now and then is no limit.
_LATE_SECONDS = 0.3
_ARRIVED_RATIO = 0.85
_P95_RATIO = 3.0
# Of a step, in which nothing waits yet.
_FIRST_RATIO = 0.2
_POLL_SECONDS = 0.05
# Until the threads have taken the schedule.
_BEGIN_SECONDS = 0.1


class Window(NamedTuple):
    """A part of a run in its seconds."""

    begin: float
    end: float


class Broken(NamedTuple):
    """A step that did not hold: its rate, when it was, and how many messages waited for their event at its end."""

    rate: float
    window: Window
    waiting: int


class Stress:
    """The steps of a stress test, each of `step_seconds`, in the thread that calls `run`."""

    def __init__(
        self,
        target: SteppedTarget,
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
        self.broken: Broken | None = None
        self._base_p95: float | None = None

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
        waiting = target.waiting()
        has_arrived = target.drain()
        if not stopping.is_set():
            self._judge(Broken(rate, Window(begin, end), waiting), has_arrived)

    def _judge(self, tried: Broken, has_arrived: bool) -> None:
        """Add the step, and keep it as broken unless it held or the load test itself was too slow."""
        step = self._result(tried, has_arrived)
        if not step.held and not self.is_late:
            self.broken = tried
        self.search.add(step)
        self._show(f"{tried.rate:,.0f}/s {'held' if step.held else f'broke: {step.reason}'}")

    def _result(self, tried: Broken, has_arrived: bool) -> Step:
        rate, window, trace = tried.rate, tried.window, self._target.trace
        arrived = _arrived_per_second(trace, window)
        reason = self._reason(rate, window, arrived, has_arrived)
        return Step(
            wanted_per_second=rate,
            sent_per_second=len(self._target.lag_trace.due) / (window.end - window.begin),
            arrived_per_second=arrived,
            p99=_quantile(trace, 0.99),
            held=not reason,
            reason=reason,
        )

    def _reason(self, rate: float, window: Window, arrived: float, has_arrived: bool) -> str:
        """Return why a rate did not hold; nothing if it did."""
        trace, lag = self._target.trace, self._target.lag_trace
        found, own = (trend(each.due, each.ms, *window) for each in (trace, lag))
        self.is_late = own is not None and own.is_rising and own.rise * (window.end - window.begin) > _LATE_SECONDS
        if self.is_late:
            return "the load test cannot send faster"
        if not has_arrived or not trace.due:
            return "not all arrived"
        if found is not None and found.is_rising:
            return f"latencies rise by {1000 * found.rise:,.0f} ms each second"
        if arrived < _ARRIVED_RATIO * rate:
            return f"{arrived:,.0f} a second arrive"
        p95 = _quantile(trace, 0.95) or 0.0
        self._base_p95 = self._base_p95 or p95
        # Where each message waits for a commit of its own time, a low rate shows it.
        most = max(self._p95_ms, _P95_RATIO * self._base_p95)
        return f"p95 is {p95:,.0f} ms, more than {most:,.0f}" if p95 > most else ""


def _arrived_per_second(trace: Trace, window: Window) -> float:
    """Return the rate of arrivals, from when the first were due to when the last arrived, as far as that was later.

    What each message takes without load, which the first show, is left out.
    """
    if not trace.due:
        return 0.0
    first = window.begin + _FIRST_RATIO * (window.end - window.begin)
    early = [ms for due, ms in zip(trace.due, trace.ms, strict=True) if due < first]
    usual = sum(early) / len(early) / 1000 if early else 0.0
    last = max(due + ms / 1000 for due, ms in zip(trace.due, trace.ms, strict=True))
    return len(trace.due) / (max(window.end, last - usual) - window.begin)


def _quantile(trace: Trace, q: float) -> float | None:
    histogram = LatencyHistogram()
    for ms in trace.ms:
        histogram.add(ms)
    return histogram.quantile(q)
