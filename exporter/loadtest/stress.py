"""A stress test: steps of rising rates, until requests are answered later and later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.own_processor import OwnProcessor
from exporter.loadtest.results import Step
from exporter.loadtest.run_clock import RunClock
from exporter.loadtest.schedule import Schedule
from exporter.loadtest.search import Search, trend
from exporter.loadtest.settings import Limits
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
    """A step that did not hold: its number, its rate, when it was, how many waited at its end, and how many failed."""

    number: int
    rate: float
    window: Window
    waiting: int
    failed: int


class Stress:
    """The steps of a stress test, each of `step_seconds`, in the thread that calls `run`."""

    def __init__(
        self,
        target: SteppedTarget,
        clock: RunClock,
        first_rate: float,
        step_seconds: float,
        limits: Limits,
        show: Callable[[str], None],
    ) -> None:
        self._target, self._clock, self._show = target, clock, show
        self._seconds, self._limits = step_seconds, limits
        self.search = Search(first_rate)
        self.own_limit = ""
        self.broken: Broken | None = None
        self._base_p95: float | None = None

    def run(self, stopping: threading.Event) -> None:
        """Make steps until the breaking point is known, or `stopping` is set."""
        self._target.trace.is_kept = self._target.lag_trace.is_kept = True
        while not (stopping.is_set() or self.own_limit):
            rate = self.search.next_rate()
            if rate is None:
                return
            self._step(rate, stopping)

    def _step(self, rate: float, stopping: threading.Event) -> None:
        target, begin = self._target, self._clock.now() + _BEGIN_SECONDS
        end = begin + self._seconds
        target.trace.clear()
        target.lag_trace.clear()
        failed = target.counts().failed
        own = OwnProcessor(target.pids()) if target.waits_for_answers else None
        target.send(Schedule(rate), begin, self._seconds)
        while target.is_sending and not stopping.wait(_POLL_SECONDS):
            if target.failure() is not None:  # which ends the run
                stopping.wait()
                return
        self.own_limit = "" if own is None else own.limit()
        waiting = target.waiting()
        has_arrived = target.drain()
        if not stopping.is_set():
            number, failed = len(self.search.steps), target.counts().failed - failed
            self._judge(Broken(number, rate, Window(begin, end), waiting, failed), has_arrived)

    def _judge(self, tried: Broken, has_arrived: bool) -> None:
        """Add the step, and keep it as broken unless it held or the load test itself was too slow."""
        step = self._result(tried, has_arrived)
        if step.held:
            self.own_limit = ""
        if not step.held and not self.own_limit:
            self.broken = tried
        self.search.add(step)
        self._show(f"{tried.rate:,.0f}/s {'held' if step.held else f'broke: {step.reason}'}")

    def _result(self, tried: Broken, has_arrived: bool) -> Step:
        rate, window, trace = tried.rate, tried.window, self._target.trace
        arrived = _arrived_per_second(trace, window)
        reason = self._reason(tried, arrived, has_arrived)
        return Step(
            wanted_per_second=rate,
            sent_per_second=len(self._target.lag_trace.due) / (window.end - window.begin),
            arrived_per_second=arrived,
            p99=_quantile(trace, 0.99),
            held=not reason,
            reason=reason,
        )

    def _reason(self, tried: Broken, arrived: float, has_arrived: bool) -> str:
        """Return why a rate did not hold; nothing if it did."""
        late = self._late(tried.window)
        reason = late or self._fault(tried, arrived, has_arrived)
        if late or (reason and self.own_limit):
            self.own_limit = late or f"the load test cannot send faster: {self.own_limit}"
            return self.own_limit
        return reason

    def _late(self, window: Window) -> str:
        lag = self._target.lag_trace
        own = trend(lag.due, lag.ms, *window)
        is_late = own is not None and own.is_rising and own.rise * (window.end - window.begin) > _LATE_SECONDS
        return "the load test cannot send faster: what it sends is later and later" if is_late else ""

    def _fault(self, tried: Broken, arrived: float, has_arrived: bool) -> str:
        """Return what the target did not hold."""
        trace, sent = self._target.trace, len(self._target.lag_trace.due)
        found = trend(trace.due, trace.ms, *tried.window)
        if tried.failed > self._limits.errors_percent / 100 * sent:
            return f"{tried.failed:,} of {sent:,} failed"
        if not has_arrived or not trace.due:
            return "not all arrived"
        if found is not None and found.is_rising:
            return f"latencies rise by {1000 * found.rise:,.0f} ms each second"
        if arrived < _ARRIVED_RATIO * tried.rate:
            return f"{arrived:,.0f} a second arrive"
        p95 = _quantile(trace, 0.95) or 0.0
        self._base_p95 = self._base_p95 or p95
        # Where each message waits for a commit of its own time, a low rate shows it.
        most = max(self._limits.p95_ms, _P95_RATIO * self._base_p95)
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
