"""Figures of the machine and the process each second, by a task or thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector, get_metrics_collector
from exporter.instrument.library.tasks import cancel, is_lost, started_task, wait_for
from exporter.instrument.storages.forks import renew_lock_after_fork
from exporter.performance.machine import Reading, figures, reader, traffic
from exporter.performance.notices import log

if TYPE_CHECKING:
    import asyncio

THREAD = "performance-realtime"
POINTS_KEPT = 1000
HELP = {
    "cpu_usage_ratio": "Processor time of the program, of all cores it may use.",
    "memory_bytes": "Resident memory of the program.",
    "threads": "Threads of the program.",
    "machine_cpu_usage_ratio": "Processor time of the machine that is not idle.",
    "machine_memory_used_ratio": "Memory of the machine that is not available.",
}


class RealtimeMetricsCollector:
    """Processor, memory, disk and network of the machine and the process, every `interval` seconds.

    The last `points` of each figure are kept. `start` makes a task where an event loop runs, and a thread elsewhere;
    readings are made by a thread in both cases. Raises `ImportError` without psutil.
    """

    def __init__(
        self,
        *,
        interval: float = 1.0,
        points: int = POINTS_KEPT,
        collector: MetricsCollector | None = None,
        read: Callable[[], Reading] | None = None,
    ) -> None:
        if not 0 < interval < threading.TIMEOUT_MAX:
            raise ValueError(f"interval is a number of seconds above 0, not {interval!r}")
        if points < 1:
            raise ValueError(f"points is at least 1, not {points!r}")
        self._interval, self._points = interval, points
        self._read = read or reader("RealtimeMetricsCollector")
        self._before = self._read()
        self._history: dict[str, deque[tuple[float, float]]] = {}
        self._listeners: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        renew_lock_after_fork(self)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False
        made = collector or get_metrics_collector()
        self._gauges = {name: made.gauge(f"program_{name}", text) for name, text in HELP.items()}
        with _traffic_lock:
            self._traffic = _traffic.setdefault(made.registry, _Traffic(made, self._before))

    def add_listener(self, listener: Callable[[], object]) -> None:
        """Call `listener` after each reading."""
        self._listeners.append(listener)

    def collect_once(self) -> dict[str, float]:
        """Read all figures, keep and return them; ratios and rates are of the time since the reading before.

        Raises the first exception of a listener after all have been called.
        """
        with self._lock:
            before, self._before = self._before, self._read()
            found, now = figures(before, self._before), time.time()
            for name, value in found.items():
                self._history.setdefault(name, deque(maxlen=self._points)).append((now, value))
            self._traffic.count(before, self._before)
        for name, gauge in self._gauges.items():
            gauge.set(found[name])
        if errors := _errors(self._listeners):
            raise errors[0]
        return found

    def get_latest(self) -> dict[str, float]:
        """Return the last value of each figure; none before the first reading."""
        return {name: points[-1][1] for name, points in list(self._history.items()) if points}

    def get_history(self, name: str) -> list[tuple[float, float]]:
        """Return the points of a figure, each of Unix seconds and a value, oldest first."""
        points = self._history.get(name)
        return [] if points is None else list(points.copy())

    def get_names(self) -> list[str]:
        """Return the names of the figures that there are."""
        return list(self._history)

    def start(self) -> Self:
        """Begin to read periodically; nothing happens if that goes on."""
        if not self._is_running():
            self._stopped = threading.Event()  # of before a fork it may be in use for ever
            self._task, self._thread = started_task(self._run_as_task, THREAD), None
            if self._task is None:
                self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
                self._thread.start()
        return self

    def stop(self) -> None:
        """End it: a thread before this returns, a task when its event loop runs again."""
        self._stopped.set()
        task, self._task = self._task, None
        thread, self._thread = self._thread, None
        if task is not None:
            cancel(task)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    async def aclose(self) -> None:
        """End it before this returns."""
        import asyncio

        task = self._task
        await asyncio.to_thread(self.stop)
        if task is not None:
            await wait_for(task)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def _is_running(self) -> bool:
        """Return whether it reads: no thread outlives a fork, and no task the event loop it is of."""
        if self._task is not None:
            return not self._task.done() and not is_lost(self._task)
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            self._collect()

    async def _run_as_task(self) -> None:
        import asyncio

        while not self._stopped.is_set():
            await asyncio.sleep(self._interval)
            await asyncio.to_thread(self._collect)

    def _collect(self) -> None:
        try:
            self.collect_once()
            self._is_failing = False
        except Exception as error:  # of a listener, or of a system without some figure: the next may succeed
            if not self._is_failing:
                log.warning("figures cannot be read, retrying: %s: %s", type(error).__name__, error)
            self._is_failing = True


def _errors(listeners: Sequence[Callable[[], object]]) -> list[Exception]:
    """Call all listeners; return what was raised: one that fails does not keep the others from their call."""
    errors = []
    for listener in listeners:
        try:
            listener()
        except Exception as error:
            errors.append(error)
    return errors


class _Traffic:
    """The counters of the machine in one registry, which count each byte once for all that read there."""

    def __init__(self, collector: MetricsCollector, counted: Reading) -> None:
        self._counted = counted
        self._lock = threading.Lock()
        self._counters = {
            name: collector.counter(f"program_machine_{name}_total", f"Machine: {name.replace('_', ' ')}.")
            for name in traffic(counted, counted)
        }

    def count(self, before: Reading, now: Reading) -> None:
        """Count what was between two readings of one reader, but for what another has counted."""
        with self._lock:
            begin = max(before, self._counted, key=lambda each: each.at)
            if now.at > begin.at:
                self._counted = now
                for name, change in traffic(begin, now).items():
                    self._counters[name].increment(change)


_traffic = WeakKeyDictionary[CollectorRegistry, _Traffic]()
_traffic_lock = threading.Lock()
