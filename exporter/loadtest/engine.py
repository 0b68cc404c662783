"""A run: targets are prepared, loaded at the same time and watched, and what they measured becomes a `Run`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from msgspec.structs import replace

from exporter.loadtest import verdict
from exporter.loadtest.bottleneck import bottleneck
from exporter.loadtest.cost import generator_cost
from exporter.loadtest.disk import ReportRoom, full_disk
from exporter.loadtest.distributions import merged
from exporter.loadtest.evidence import Beside
from exporter.loadtest.kafka.target import KafkaTarget
from exporter.loadtest.machine import machine
from exporter.loadtest.network import NetworkProbe
from exporter.loadtest.own_metrics import OwnMetrics
from exporter.loadtest.resources import OWN, Sampler, interval_seconds
from exporter.loadtest.results import Check, Ended, GeneratorCost, Outcome, Run, Setting, TargetResult
from exporter.loadtest.run_clock import RunClock
from exporter.loadtest.run_log import RunLog
from exporter.loadtest.settings import STRESS, Settings
from exporter.loadtest.stress import Stress, Window
from exporter.loadtest.target import Counts, Failure, SteppedTarget, Target, TargetError
from exporter.runtime.clock import now_ms
from exporter.runtime.threads import described

PROGRESS_SECONDS = 5.0
_LOOK_SECONDS = 0.1


class Outputs(NamedTuple):
    """Where the lines of a run go: its log, and a terminal; and the room for its report."""

    log: RunLog
    room: ReportRoom
    show: Callable[[str], None]


class Place(NamedTuple):
    """Addresses of a run: to which the network is to be measured, if any, and of the load test's own metrics."""

    network: tuple[str, int] | None
    metrics: tuple[str, int]


class LoadRun:
    """One run, made by `run`, which may be called once."""

    def __init__(
        self,
        settings: Settings,
        targets: Sequence[Target],
        left_out: Mapping[str, str],
        place: Place,
        outputs: Outputs,
    ) -> None:
        """Take the targets, and why others are left out, which is no fault of the run."""
        self._settings, self._targets, self._place, self._outputs = settings, list(targets), place, outputs
        self._left_out, self._own = left_out, {OWN}
        self._clock = RunClock()
        self._ending = threading.Event()
        self._failure: Failure | None = None
        self._skipped: dict[str, str] = {}
        self._notes: list[str] = []
        self._stress: Stress | None = None
        self._waiting, self._seconds = 0, 0.0

    def run(self, stopping: threading.Event, command: str, shown: Mapping[str, Setting]) -> Run:
        """Make the run until it is over or `stopping` is set; raise `TargetError` when no target can be tested.

        `command` and `shown` are the command line and its settings for the report.
        """
        begun_ms, log = now_ms(), self._outputs.log
        log.write("info", "preparing", targets=[target.name for target in self._targets])
        results: list[TargetResult] = []
        try:
            self._prepare(stopping)
            begun_ms = now_ms()
            sampler, network, seconds = self._load(stopping)
        finally:
            results += self._stopped()
        sampler.stop()
        ended, because = self._end(stopping)
        log.write("info" if ended is Ended.FINISHED else "error", "ended", reason=str(ended), because=because)
        cost = self._cost(sampler, results)
        return Run(
            profile=self._settings.profile,
            command=command,
            settings={**self._settings.shown(), **shown},
            started_ms=begun_ms,
            seconds=seconds,
            machine=machine(),
            ended=ended,
            ended_because=because,
            targets=tuple(results),
            skipped={**self._left_out, **self._skipped},
            samples=sampler.samples(),
            generator=cost,
            bottleneck=bottleneck(self._evidence(network, sampler, cost).of(self._targets, results)),
            breaking_point=None if self._stress is None else self._stress.search.point(),
            checks=(*self._checks(results), *_not_run(self._skipped)),
            notes=tuple(self._notes),
        )

    def _prepare(self, stopping: threading.Event) -> None:
        """Prepare the targets; those that cannot be tested are skipped."""
        if self._settings.is_embedded:
            self._notes.append("Broker, sidecar and load test shared one process: these are figures of all of them.")
        for target in self._targets.copy():
            self._outputs.show(f"preparing {target.name}")
            try:
                target.prepare(stopping)
            except TargetError as error:
                self._skip(target, str(error))
        if not self._targets:
            raise TargetError("; ".join(self._skipped.values()))

    def _skip(self, target: Target, reason: str) -> None:
        self._outputs.log.write("error", "target skipped", target=target.name, reason=reason)
        self._outputs.show(f"{target.name} is not tested: {reason}")
        self._skipped[target.name] = reason
        self._targets.remove(target)
        target.stop()

    def _load(self, stopping: threading.Event) -> tuple[Sampler, NetworkProbe | None, float]:
        """Load the targets until the run is over; return what was measured beside them, and for how many seconds."""
        address, clock = self._place.network, self._clock
        pids = self._pids()
        self._own |= pids.keys()
        interval = interval_seconds(self._settings.seconds)
        sampler = Sampler({**self._settings.processes, **pids}, time.monotonic(), interval)
        network = None if address is None else NetworkProbe(*address, clock)
        metrics = OwnMetrics(self._targets, *self._place.metrics)
        self._outputs.show(f"the load test's own metrics are at {metrics.url}")
        self._outputs.log.write("info", "started", metrics=metrics.url)
        started = time.monotonic()
        clock.start(started)
        watch = threading.Thread(target=self._watch, args=(stopping,), name="loadtest-watch", daemon=True)
        try:
            sampler.start()
            for target in self._targets:
                target.start(started)
            watch.start()
            self._steps() if self._settings.profile == STRESS else self._ending.wait()
        finally:
            self._ending.set()
            self._seconds = seconds = clock.now()
            kafka = self._kafka()
            self._waiting = 0 if kafka is None else kafka.waiting()
            metrics.close()
            if network is not None:
                network.stop()
        watch.join()
        return sampler, network, seconds

    def _pids(self) -> dict[str, int]:
        """Return the processes of targets that have some."""
        return {name: pid for target in self._targets for name, pid in target.pids().items()}

    def _steps(self) -> None:
        settings = self._settings
        [target] = (each for each in self._targets if isinstance(each, SteppedTarget))
        first = settings.rate or settings.users * settings.user_rate
        self._stress = Stress(target, self._clock, first, settings.step_seconds, settings.limits, self._on_step)
        self._stress.run(self._ending)

    def _on_step(self, text: str) -> None:
        self._outputs.show(text)
        self._outputs.log.write("info", "step", result=text)

    def _evidence(self, network: NetworkProbe | None, sampler: Sampler, cost: GeneratorCost) -> Beside:
        broken = None if self._stress is None else self._stress.broken
        window = Window(0.0, self._clock.now()) if broken is None else broken.window
        connects = () if network is None else network.connects
        return Beside(window, broken, self._waiting, connects, sampler.samples(), cost)

    def _kafka(self) -> KafkaTarget | None:
        return next((target for target in self._targets if isinstance(target, KafkaTarget)), None)

    def _watch(self, stopping: threading.Event) -> None:
        """End the run when it is over or cannot go on, and report its progress until then."""
        try:
            self._look(stopping)
        except Exception as error:
            self._failure = Failure(Ended.FAILED, f"internal error, please report it: {described(error)}")
        finally:
            self._ending.set()

    def _look(self, stopping: threading.Event) -> None:
        due = PROGRESS_SECONDS
        while not self._ending.wait(_LOOK_SECONDS):
            self._failure = self._found_failure()
            if self._failure is not None or stopping.is_set() or self._is_over():
                return
            if self._clock.now() >= due:
                due += PROGRESS_SECONDS
                self._progress()

    def _found_failure(self) -> Failure | None:
        failures = [target.failure() for target in self._targets]
        if self._outputs.log.error:
            failures.append(full_disk("the log"))
        return next(filter(None, [*failures, self._outputs.room.failure()]), None)

    def _is_over(self) -> bool:
        settings, kafka = self._settings, self._kafka()
        is_sent = settings.messages is not None and kafka is not None and kafka.counts().sent >= settings.messages
        return self._clock.now() >= settings.seconds or (is_sent and len(self._targets) == 1)

    def _progress(self) -> None:
        counts = {target.name: target.counts() for target in self._targets}
        for name, found in counts.items():
            latency = {} if found.latency is None else {"p99_ms": round(found.latency.p99, 2)}
            numbers = {"sent": found.sent, "answered": found.answered, "failed": found.failed}
            self._outputs.log.write("info", "progress", target=name, **numbers, **latency)
        self._outputs.show(f"{self._clock.now():5.0f} s  " + "   ".join(map(_progress, counts.items())))

    def _stopped(self) -> list[TargetResult]:
        """Stop the targets at the same time and return their results; one that fails does not keep others running."""
        if not self._targets:
            return []
        self._outputs.show("waiting for what is on its way")
        with ThreadPoolExecutor(len(self._targets), "loadtest-stop") as pool:
            return [result for result in pool.map(self._stop, self._targets) if result is not None]

    def _stop(self, target: Target) -> TargetResult | None:
        try:
            return target.stop()
        except Exception as error:
            self._notes.append(f"The load on {target.name} did not end as it should: {described(error)}.")
            return None

    def _end(self, stopping: threading.Event) -> tuple[Ended, str]:
        if self._failure is not None:
            return self._failure
        if stopping.is_set():
            return Ended.INTERRUPTED, f"The run was interrupted after {self._seconds:.0f} s."
        return Ended.FINISHED, ""

    def _cost(self, sampler: Sampler, results: Sequence[TargetResult]) -> GeneratorCost:
        lags = [lag for target in self._targets if (lag := target.lag.distribution()) is not None]
        # Steps of a stress test are judged one by one, and most of their lag is that of rates that did not hold.
        judged = results if self._stress is None else ()
        cost = generator_cost(sampler.samples(), self._own, merged(lags), judged)
        if self._stress is not None and self._stress.own_limit:
            last = self._stress.search.steps[-1].wanted_per_second
            return replace(cost, is_limit=True, evidence=(*cost.evidence, f"at {last:,.0f}/s {self._stress.own_limit}"))
        return cost

    def _checks(self, results: Sequence[TargetResult]) -> tuple[Check, ...]:
        limits = self._settings.limits
        if self._stress is None:
            return verdict.checks(results, limits)
        return verdict.stress_checks(results[0], self._stress.search.point(), limits) if results else ()


def _progress(named: tuple[str, Counts]) -> str:
    name, counts = named
    p99 = "" if counts.latency is None else f", p99 {counts.latency.p99:,.1f} ms"
    return f"{name}: {counts.answered:,} answered, {counts.failed:,} failed{p99}"


def _not_run(skipped: Mapping[str, str]) -> Iterable[Check]:
    for name in skipped:
        yield Check(target=name, name="run", wanted="run", measured="not measured", outcome=Outcome.NOT_MEASURED)
