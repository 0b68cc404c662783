"""The monitors of a program together: a report, recommendations and alerts."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple, Self

from exporter.instrument import MetricsCollector, get_metrics_collector
from exporter.instrument.storages.forks import renew_lock_after_fork
from exporter.performance import advice
from exporter.performance.advice import CacheUse, Facts, HandlerUse, MachineUse, MemoryUse, OperationUse, SlowStage
from exporter.performance.alerts import AlertState, Level
from exporter.performance.latency import TOTAL, LatencyMonitor
from exporter.performance.memory import MemoryManager, ratios
from exporter.performance.parts import BusFigures, CacheFigures
from exporter.performance.realtime import RealtimeMetricsCollector
from exporter.performance.recent import quantile
from exporter.performance.throughput import ThroughputOptimizer

# What recommendations look at.
WINDOW_SECONDS = 60.0
# What a figure of an alert looks at: the alert itself waits for half a minute of such figures.
ALERT_WINDOW_SECONDS = 10.0
MACHINE_POINTS = 30
MACHINE_POINTS_MIN = 10


class _Counted(NamedTuple):
    at: float
    caches: Mapping[str, Mapping[str, Any]]
    handlers: Mapping[str, Mapping[str, Any]]


class PerformanceSystem:
    """Latency, throughput, memory and machine of a program, with its caches and event buses.

    Parts that are not given are made, with `collector`. `start` begins to read each second, and `evaluate` is called
    after each reading. Raises `ImportError` without psutil, and `ValueError` for caches or buses of one name.
    """

    def __init__(
        self,
        *,
        latency: LatencyMonitor | None = None,
        throughput: ThroughputOptimizer | None = None,
        memory: MemoryManager | None = None,
        realtime: RealtimeMetricsCollector | None = None,
        caches: Sequence[CacheFigures] = (),
        buses: Sequence[BusFigures] = (),
        collector: MetricsCollector | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        made = collector or get_metrics_collector()
        self.registry = made.registry
        self.latency = latency or LatencyMonitor(collector=made, clock=clock)
        self.throughput = throughput or ThroughputOptimizer(collector=made, clock=clock)
        self.memory = memory or MemoryManager(collector=made, clock=clock)
        self.realtime = realtime or RealtimeMetricsCollector(collector=made)
        self.caches, self.buses = list(caches), list(buses)
        _check_names("caches", self.caches)
        _check_names("buses", self.buses)
        self._clock = clock or time.monotonic
        self._active = made.gauge("program_alert_active", "1 while an alert is active, else 0.")
        self._alerts: dict[tuple[str, str], AlertState] = {}
        self._levels: dict[tuple[str, str], Level] = {}
        self._lock = threading.Lock()
        renew_lock_after_fork(self)
        self._begin = self._clock()
        self._counted = deque([self._count(self._begin)])
        self._memory_ratios = deque[tuple[float, float]](maxlen=MACHINE_POINTS)
        self.realtime.add_listener(self.evaluate)

    def evaluate(self) -> None:
        """Take a sample of memory, caches and buses, and raise or clear alerts. Called once a second."""
        now = self._clock()
        found = self.memory.sample()
        with self._lock:
            self._memory_ratios.append(ratios(found))
            self._counted.append(self._count(now))
            while len(self._counted) > 1 and self._counted[1].at <= now - WINDOW_SECONDS:
                self._counted.popleft()
            self._levels = self._present_levels(now, max(ratios(found)))
            for key, level in self._levels.items():
                self._update(key, level, now)

    def get_alerts(self) -> list[dict[str, Any]]:
        """Return the active alerts: `alert`, `subject`, `figure`, `threshold`, `since_seconds` (ago) and `text`."""
        now, found = self._clock(), []
        with self._lock:
            for (alert, subject), state in self._alerts.items():
                if state.is_active:
                    level = self._levels[alert, subject]
                    text = _text(alert, subject, level)
                    shown = {"alert": alert, "subject": subject, "figure": level.figure, "threshold": level.threshold}
                    found.append({**shown, "since_seconds": now - state.since, "text": text})
        return found

    def generate_optimization_recommendations(self) -> list[dict[str, Any]]:
        """Return what to change: `kind`, `about`, the `figure` behind it, its `threshold` and `unit`, and `change`.

        The figures are of the last minute, those of processor and memory of the last 30 readings.
        """
        return [each._asdict() for each in advice.recommendations(self._facts(self._clock()))]

    def get_comprehensive_performance_report(self) -> dict[str, Any]:
        """Return all figures, alerts and recommendations as values for JSON; what is unknown is None."""
        report = {
            "time": time.time(),
            "latency": {
                "stages": {stage: self._stage(stage) for stage in self.latency.get_stages()},
                "bottlenecks": [each._asdict() for each in self.latency.identify_bottlenecks()],
            },
            "throughput": {
                name: {
                    **self.throughput.get_throughput_statistics(name),
                    "trend": self.throughput.get_throughput_trend(name),
                }
                for name in self.throughput.get_operations()
            },
            "memory": {**self.memory.get_memory_statistics(), "trend": self.memory.get_memory_trend()},
            "machine": self.realtime.get_latest(),
            "caches": {each.name: each.get_cache_statistics() for each in self.caches},
            "buses": {each.name: each.get_statistics() for each in self.buses},
            "alerts": self.get_alerts(),
            "recommendations": self.generate_optimization_recommendations(),
        }
        shown: dict[str, Any] = _for_json(report)
        return shown

    def start(self) -> Self:
        """Begin to read each second, by a task where an event loop runs and by a thread elsewhere."""
        self.realtime.start()
        return self

    def stop(self) -> None:
        """End it; the parts that were given stay as they are."""
        self.realtime.stop()

    async def aclose(self) -> None:
        """End it before this returns."""
        await self.realtime.aclose()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def _stage(self, stage: str) -> dict[str, Any]:
        return {**self.latency.get_latency_statistics(stage), "threshold": self.latency.thresholds.get(stage)}

    def _count(self, now: float) -> _Counted:
        caches = {each.name: dict(each.get_cache_statistics()) for each in self.caches}
        handlers = {
            f"{bus.name}/{name}": dict(figures)
            for bus in self.buses
            for name, figures in bus.get_statistics()["handlers"].items()
        }
        return _Counted(now, caches, handlers)

    def _update(self, key: tuple[str, str], level: Level, now: float) -> None:
        state = self._alerts.setdefault(key, AlertState())
        active = state.update(level, now)
        self._active.set(int(active), labels={"alert": key[0], "subject": key[1]})

    def _present_levels(self, now: float, memory: float) -> dict[tuple[str, str], Level]:
        latest, since = self.realtime.get_latest(), now - ALERT_WINDOW_SECONDS
        cpu = max(
            [latest[name] for name in ("cpu_usage_ratio", "machine_cpu_usage_ratio") if name in latest], default=None
        )
        found = {
            ("cpu", ""): Level(cpu, advice.CPU_RATIO_MAX),
            ("memory", ""): Level(memory, self.memory.critical_ratio),
        }
        thresholds = self.latency.thresholds
        for stage in self.latency.get_stages():
            if stage in thresholds:
                values = sorted(self.latency.recent(stage, since))
                found["latency", stage] = Level(quantile(values, 0.95) if values else None, thresholds[stage])
        for operation in self.throughput.get_operations():
            figures = self.throughput.get_throughput_statistics(operation, since)
            if (target := figures["target"]) is not None:
                busy = self.throughput.get_busy_ratio(operation, max(since, self._begin), now)
                is_busy = busy >= advice.BUSY_RATIO_MIN
                found["throughput", operation] = Level(figures["rate"] if is_busy else None, target, is_target=True)
        return found

    def _facts(self, now: float) -> Facts:
        since = now - WINDOW_SECONDS
        with self._lock:
            before, memory = self._counted[0], list(self._memory_ratios)
        counted = self._count(now)
        trend = self.memory.get_memory_trend()
        return Facts(
            tuple(self._slow_stages(since)),
            tuple([_cache_use(name, each, before.caches.get(name, {})) for name, each in counted.caches.items()]),
            tuple([_handler_use(name, each, before.handlers.get(name, {})) for name, each in counted.handlers.items()]),
            tuple([self._operation(name, since, now) for name in self.throughput.get_operations()]),
            MachineUse(
                self._typical("cpu_usage_ratio"),
                self._typical("busiest_thread_ratio"),
                self._typical("machine_cpu_usage_ratio"),
                _typical([used for used, _ in memory]),
                _typical([machine for _, machine in memory]),
            ),
            MemoryUse(trend["bytes_per_second"], trend["seconds_to_limit"], trend["span_seconds"]),
        )

    def _slow_stages(self, since: float) -> Iterable[SlowStage]:
        largest = next(iter(self.latency.get_shares(since).items()), None)
        for each in self.latency.identify_bottlenecks(since):
            part = largest if each.stage == TOTAL else None
            yield SlowStage(each.stage, each.p95_ms, each.threshold_ms, each.share, part)

    def _operation(self, name: str, since: float, now: float) -> OperationUse:
        figures = self.throughput.get_throughput_statistics(name, since)
        number = figures["observations"]
        optimal = self.throughput.calculate_optimal_batch_size(name)
        return OperationUse(
            name,
            number,
            figures["rate"],
            figures["target"],
            self.throughput.get_busy_ratio(name, max(since, self._begin), now),
            figures["items"] / number if number else math.nan,
            optimal,
            None if optimal is None else self.throughput.expected_gain(name, optimal),
        )

    def _typical(self, name: str) -> float | None:
        return _typical([value for _, value in self.realtime.get_history(name)[-MACHINE_POINTS:]])


def _check_names(what: str, parts: Sequence[CacheFigures | BusFigures]) -> None:
    names = [each.name for each in parts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"each of the {what} has a name of its own, not several {', '.join(twice)}")


def _typical(values: Sequence[float]) -> float | None:
    return median(values) if len(values) >= MACHINE_POINTS_MIN else None


def _cache_use(name: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> CacheUse:
    counts = [now[key] - before.get(key, 0) for key in ("requests", "hits", "evictions")]
    return CacheUse(name, now["entries"], now["capacity"], *counts)


def _handler_use(name: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> HandlerUse:
    return HandlerUse(name, now["dropped"] - before.get("dropped", 0), now["queue_length"], now["queue_capacity"])


def _text(alert: str, subject: str, level: Level) -> str:
    name, side = f"{alert} of {subject}" if subject else alert, "below" if level.is_target else "above"
    figure = "unknown" if level.figure is None else f"{level.figure:.4g}"
    return f"{name} is {figure}, {side} {level.threshold:.4g}"


def _for_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _for_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
