"""Figures of the machine and the process each second, by a task or thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Self

from exporter.instrument import MetricsCollector, get_metrics_collector
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
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False
        made = collector or get_metrics_collector()
        self._gauges = {name: made.gauge(f"program_{name}", text) for name, text in HELP.items()}
        self._counters = {
            name: made.counter(f"program_machine_{name}_total", f"Machine: {name.replace('_', ' ')}.")
            for name in traffic(self._before, self._before)
        }

    def add_listener(self, listener: Callable[[], object]) -> None:
        """Call `listener` after each reading."""
        self._listeners.append(listener)

    def collect_once(self) -> dict[str, float]:
        """Read all figures, keep and return them; ratios and rates are of the time since the reading before."""
        with self._lock:
            before, self._before = self._before, self._read()
            found, now = figures(before, self._before), time.time()
            for name, value in found.items():
                self._history.setdefault(name, deque(maxlen=self._points)).append((now, value))
            for name, change in traffic(before, self._before).items():
                self._counters[name].increment(change)
        for name, gauge in self._gauges.items():
            gauge.set(found[name])
        for listener in self._listeners:
            listener()
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
        """Begin to read periodically; nothing happens if that has begun."""
        if self._task is None and self._thread is None:
            self._stopped.clear()
            self._task = _started_task(self._run_as_task)
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
            task.get_loop().call_soon_threadsafe(task.cancel)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    async def aclose(self) -> None:
        """End it before this returns."""
        import asyncio

        task = self._task
        await asyncio.to_thread(self.stop)
        if task is not None:
            await asyncio.wait([task])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

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


def _started_task(run: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None] | None:
    """Return a task of the running event loop; None where there is none."""
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return loop.create_task(run(), name=THREAD)
