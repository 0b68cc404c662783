"""The latency of the stages of a pipeline."""

from __future__ import annotations

import inspect
import math
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic, perf_counter
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

from exporter.instrument import MetricsCollector, Summary, get_metrics_collector
from exporter.performance.recent import quantile, statistics

P = ParamSpec("P")
T = TypeVar("T")
Clock: TypeAlias = Callable[[], float]
TOTAL = "total_pipeline"
DEFAULT_THRESHOLDS_MS: Mapping[str, float] = {
    "data_processing": 50.0,
    "model_inference": 100.0,
    "signal_generation": 20.0,
    "order_execution": 50.0,
    "database_query": 10.0,
    "cache_access": 1.0,
    TOTAL: 100.0,
}
VALUES_KEPT = 1000
STAGES_MAX = 500
# Fewer values make no bottleneck: a first call loads what later ones have.
VALUES_MIN = 20


class Bottleneck(NamedTuple):
    """A stage whose 95th percentile is above its threshold.

    `excess` is their ratio, `share` the part of the pipeline's time that the stage takes, `values` their number.
    """

    stage: str
    p95_ms: float
    threshold_ms: float
    excess: float
    share: float
    values: int


class LatencyMonitor:
    """Measures how long the stages of a pipeline take, in milliseconds, beside their thresholds.

    `thresholds` are added to those by default and win. Threads may use it together. The last 1,000 values of up to 500
    stages are kept; further stages count as `__other__`.
    """

    def __init__(
        self,
        thresholds: Mapping[str, float] | None = None,
        *,
        collector: MetricsCollector | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or monotonic
        self._collector = collector or get_metrics_collector()
        self._summary_options = ("program_stage_duration_seconds", "Duration of a stage of the pipeline.")
        self._gauge = self._collector.gauge(
            "program_stage_threshold_seconds", "Longest duration that a stage should have."
        )
        self._thresholds: dict[str, float] = {}
        self._stages: dict[str, _Stage] = {}
        self._lock = threading.Lock()
        for stage, threshold_ms in {**DEFAULT_THRESHOLDS_MS, **(thresholds or {})}.items():
            self.set_threshold(stage, threshold_ms)

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Return the threshold of each stage that has one, in milliseconds."""
        return dict(self._thresholds)

    def set_threshold(self, stage: str, threshold_ms: float) -> None:
        """Set the threshold of a stage; raise `ValueError` unless it is a number above 0."""
        if not 0 < threshold_ms < math.inf:
            raise ValueError(f"the threshold of {stage} is a number of milliseconds above 0, not {threshold_ms!r}")
        self._thresholds[stage] = float(threshold_ms)
        if stage in self._stages:  # the others are not shown: they would be on every page of every program
            self._gauge.set(threshold_ms / 1000, labels={"stage": stage})

    def record(self, stage: str, milliseconds: float) -> None:
        """Record that a stage took so long; raise `ValueError` unless it is a number from 0."""
        if not 0 <= milliseconds < math.inf:
            raise ValueError(f"a duration is a number of milliseconds from 0, not {milliseconds!r}")
        found = self._stages.get(stage) or self._add(stage)
        found.values.append((self._clock(), milliseconds))
        found.summary.observe(milliseconds / 1000)

    def stage(self, stage: str) -> StageTimer:
        """Return a context manager that records how long its block takes, with and without `async`."""
        return StageTimer(self._stages.get(stage) or self._add(stage))

    def measure(self, stage: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the function returns, and record how long it takes.

        What a coroutine function returns is awaited by the caller, and measured then.
        """
        with self.stage(stage) as timer:
            returned = function(*args, **kwargs)
            timer.is_void = inspect.isawaitable(returned)
        if not timer.is_void:
            return returned
        awaited: Any = self._awaited(stage, returned)  # type: ignore[arg-type]
        return awaited  # type: ignore[no-any-return]

    async def _awaited(self, stage: str, awaitable: Awaitable[T]) -> T:
        with self.stage(stage):
            return await awaitable

    def get_stages(self) -> list[str]:
        """Return the stages that were recorded."""
        return list(self._stages)

    def get_latency_statistics(self, stage: str, window: int = 100) -> dict[str, float]:
        """Return mean, median, p95, p99, min and max of the last `window` values in milliseconds, and their count.

        Without values all but count are NaN. Raises `ValueError` for a window that is not from 1 to 1,000.
        """
        if not 1 <= window <= VALUES_KEPT:
            raise ValueError(f"a window has 1 to {VALUES_KEPT} values, not {window!r}")
        found = self._stages.get(stage)
        return statistics([value for _, value in found.values.copy()][-window:] if found else [])

    def recent(self, stage: str, since: float) -> list[float]:
        """Return the values kept that were recorded since a time (monotonic seconds), in milliseconds."""
        found = self._stages.get(stage)
        return [value for at, value in found.values.copy() if at >= since] if found else []

    def identify_bottlenecks(self, since: float = -math.inf) -> list[Bottleneck]:
        """Return the stages whose p95 is above their threshold, that which exceeds it most (as a ratio) first.

        A stage has at least 20 values (since a time in monotonic seconds). `share` is its part of the time of
        `total_pipeline`, or of all stages where that is not recorded, over the time for which all have their values.
        """
        spent = self._spent(since)
        whole = spent.get(TOTAL) or math.fsum(spent.values())
        found = []
        for stage in list(self._stages):
            threshold, values = self._thresholds.get(stage), sorted(self.recent(stage, since))
            p95 = quantile(values, 0.95)
            if threshold is not None and len(values) >= VALUES_MIN and p95 > threshold:
                share = min(1.0, spent[stage] / whole) if whole else 0.0
                found.append(Bottleneck(stage, p95, threshold, p95 / threshold, share, len(values)))
        return sorted(found, key=lambda each: -each.excess)

    def get_shares(self, since: float = -math.inf) -> dict[str, float]:
        """Return the part of the whole time that each stage but `total_pipeline` took, the largest first."""
        spent = self._spent(since)
        whole = spent.pop(TOTAL, 0.0) or math.fsum(spent.values())
        shares = {stage: min(1.0, each / whole) if whole else 0.0 for stage, each in spent.items()}
        return dict(sorted(shares.items(), key=lambda each: -each[1]))

    def _spent(self, since: float) -> dict[str, float]:
        """Return the milliseconds of each stage, over the time for which all have their values."""
        kept = {stage: each.values.copy() for stage, each in list(self._stages.items())}
        begin = max([since, *(each[0][0] for each in kept.values() if len(each) == VALUES_KEPT)])
        return {stage: math.fsum([ms for at, ms in each if at >= begin]) for stage, each in kept.items()}

    def _add(self, stage: str) -> _Stage:
        with self._lock:
            name = stage if stage in self._stages or len(self._stages) < STAGES_MAX else "__other__"
            if name not in self._stages:
                summary = self._collector.summary(*self._summary_options, labels={"stage": name})
                self._stages[name] = _Stage(name, summary, deque(maxlen=VALUES_KEPT), self._clock)
                if name in self._thresholds:
                    self._gauge.set(self._thresholds[name] / 1000, labels={"stage": name})
            return self._stages[name]


class _Stage(NamedTuple):
    name: str
    summary: Summary
    values: deque[tuple[float, float]]
    clock: Clock


class StageTimer:
    """A context manager that records how long its block takes, also when it fails. Made by `LatencyMonitor.stage`."""

    __slots__ = ("_begin", "_stage", "is_void", "milliseconds")

    def __init__(self, stage: _Stage) -> None:
        self._stage = stage
        self.is_void = False
        self.milliseconds = math.nan

    def __enter__(self) -> StageTimer:
        self._begin = perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        spent = perf_counter() - self._begin
        if self.is_void:
            return
        self.milliseconds = spent * 1000
        self._stage.values.append((self._stage.clock(), self.milliseconds))
        self._stage.summary.observe(spent)

    async def __aenter__(self) -> StageTimer:
        return self.__enter__()

    async def __aexit__(self, *error: object) -> None:
        self.__exit__()
