"""The memory of the process, its limit, and when it will be reached."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

from exporter.instrument import MetricsCollector, get_metrics_collector
from exporter.instrument.storages.forks import renew_lock_after_fork
from exporter.performance import limits
from exporter.performance.extras import require
from exporter.performance.trend import Point, growth, line

CRITICAL_RATIO = 0.8
WARNING_RATIO = 0.7
POINTS_KEPT = 1800
TREND_EVERY = 10  # samples: the slopes of all pairs take a millisecond


class MemoryReading(NamedTuple):
    """Memory at a moment, in bytes: of the process, of its control group (or again the process), of the machine."""

    process_bytes: int
    used_bytes: int
    limit_bytes: int
    machine_used_bytes: int
    machine_total_bytes: int


class MemoryManager:
    """Memory of the process and the machine beside its limit, the trend, and what can be given back.

    The limit is `limit_bytes`, or the smallest of those of control groups and the memory of the machine. `used_ratio`
    at `critical_ratio` (0.8) is critical, at `warning_ratio` (0.7) a warning. Raises `ImportError` without psutil.
    """

    def __init__(
        self,
        *,
        limit_bytes: int | None = None,
        warning_ratio: float = WARNING_RATIO,
        critical_ratio: float = CRITICAL_RATIO,
        collector: MetricsCollector | None = None,
        clock: Callable[[], float] | None = None,
        read: Callable[[], MemoryReading] | None = None,
    ) -> None:
        if not 0 < warning_ratio <= critical_ratio <= 1:
            raise ValueError(f"thresholds are ratios up to 1, not {warning_ratio!r} and {critical_ratio!r}")
        if limit_bytes is not None and limit_bytes <= 0:
            raise ValueError(f"limit_bytes is a number above 0, not {limit_bytes!r}")
        self.warning_ratio, self.critical_ratio = warning_ratio, critical_ratio
        self._limit_bytes = limit_bytes
        self._clock = clock or monotonic
        self._read = read or _reader()
        self._samples = 0
        self._points = deque[Point](maxlen=POINTS_KEPT)
        self._clearers: dict[str, Callable[[], object]] = {}
        self._lock = threading.Lock()
        renew_lock_after_fork(self)
        made = collector or get_metrics_collector()
        self._limit = made.gauge("program_memory_limit_bytes", "Memory that the program may use.")
        self._growth = made.gauge(
            "program_memory_growth_bytes_per_second", "Growth of the memory of the program, 0 unless it is steady."
        )

    def register_cache(self, name: str, clear: Callable[[], object]) -> None:
        """Call `clear` in `optimize_memory`; it replaces that of the same name. Raises `TypeError` for no function."""
        if not callable(clear):
            raise TypeError(f"clear is a function, not {clear!r}")
        with self._lock:
            self._clearers[name] = clear

    def read(self) -> MemoryReading:
        """Return the memory now, with the limit of this manager."""
        found = self._read()
        return found if self._limit_bytes is None else found._replace(limit_bytes=self._limit_bytes)

    def sample(self) -> MemoryReading:
        """Return the memory now, and add it to the trend; the last 1,800 samples are kept."""
        found = self.read()
        with self._lock:
            self._points.append((self._clock(), float(found.used_bytes)))
            self._samples += 1
        self._limit.set(found.limit_bytes)
        if self._samples % TREND_EVERY == 0:
            trend = self.get_memory_trend()
            # A page that divides what is left by it would foretell the end of a program that is starting.
            self._growth.set(trend["bytes_per_second"] if trend["is_growing"] else 0.0)
        return found

    def get_memory_statistics(self) -> dict[str, Any]:
        """Return bytes of process, limit and machine, the ratios, and the level: normal, warning or critical."""
        found = self.read()
        used, machine = ratios(found)
        highest = max(used, machine)
        level = "critical" if highest >= self.critical_ratio else "warning"
        return {
            **found._asdict(),
            "used_ratio": used,
            "machine_used_ratio": machine,
            "level": level if highest >= self.warning_ratio else "normal",
        }

    def get_memory_trend(self) -> dict[str, Any]:
        """Return the trend of the samples: `bytes_per_second`, `is_growing` and `seconds_to_limit`.

        The slope is the median of those between samples, 0 where it may come from noise. Memory is growing if it does
        so at an even pace, for `span_seconds`, beyond where it was before; `seconds_to_limit` is None otherwise.
        """
        with self._lock:
            points = list(self._points)
        growing, found = growth(points), line(points)
        if growing is None:
            rate, left = found.slope if found and found.is_certain else 0.0, None
            span = points[-1][0] - points[0][0] if points else 0.0
        else:
            rate, end, span = growing
            left = max(0.0, (self.read().limit_bytes - end) / rate)
        return {
            "bytes_per_second": rate,
            "is_growing": growing is not None,
            "seconds_to_limit": left,
            "span_seconds": span,
            "samples": len(points),
        }

    def optimize_memory(self) -> dict[str, Any]:
        """Clear the registered caches and collect garbage; return what that gave back.

        `freed_bytes` is what the process has less in memory, `collected` a number of objects, `caches` the names of
        those cleared, and `errors` by name of a cache that could not be.
        """
        before = self.read().process_bytes
        with self._lock:
            clearers = dict(self._clearers)
        errors: dict[str, str] = {}
        for name, clear in clearers.items():
            try:
                clear()
            except Exception as error:  # of a cache that is the program's own: the others are cleared
                errors[name] = f"{type(error).__name__}: {error}"
        collected = gc.collect()
        return {
            "freed_bytes": max(0, before - self.read().process_bytes),
            "collected": collected,
            "caches": [name for name in clearers if name not in errors],
            "errors": errors,
        }


def ratios(found: MemoryReading) -> tuple[float, float]:
    """Return how much of the limit the program uses, and how much of its memory the machine."""
    return found.used_bytes / found.limit_bytes, found.machine_used_bytes / found.machine_total_bytes


def _reader() -> Callable[[], MemoryReading]:
    psutil = require("psutil", "MemoryManager", "performance")

    def read() -> MemoryReading:
        # Not kept: after a fork it would be the parent.
        own, machine = psutil.Process().memory_info().rss, psutil.virtual_memory()
        limit, group = limits.memory_limit(), limits.memory_used()
        is_bound = limit is not None and limit < machine.total
        used = max(own, group or 0) if is_bound else own
        total = limit if is_bound and limit is not None else machine.total
        return MemoryReading(own, used, total, machine.total - machine.available, machine.total)

    return read
