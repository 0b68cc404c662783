"""Parts for programs with milliseconds to spend: monitors, advice, caches, an event bus, retries, breakers and more.

Programs import the names of `__all__` from here; each is imported at its first use, with the libraries it needs. The
sidecar imports only what is pure. All metrics begin with `program_`, in prometheus-client's registry.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.dashboard import PerformanceDashboard
    from exporter.performance.breaker import CircuitBreaker, CircuitOpenError
    from exporter.performance.bus.bus import EventBus, EventDrivenArchitecture
    from exporter.performance.cache.manager import CacheManager
    from exporter.performance.circuit import CircuitState
    from exporter.performance.compute.models import DenseNetwork, Layer, OnnxModel
    from exporter.performance.compute.optimizer import Comparison, PerformanceOptimizer
    from exporter.performance.latency import Bottleneck, LatencyMonitor, StageTimer
    from exporter.performance.memory import MemoryManager, MemoryReading
    from exporter.performance.parts import BusFigures, CacheFigures
    from exporter.performance.realtime import RealtimeMetricsCollector
    from exporter.performance.retry import retry_with_backoff
    from exporter.performance.system import PerformanceSystem
    from exporter.performance.throughput import ThroughputOptimizer

__all__ = [
    "Bottleneck",
    "BusFigures",
    "CacheFigures",
    "CacheManager",
    "CircuitBreaker",
    "CircuitOpenError",
    "CircuitState",
    "Comparison",
    "DenseNetwork",
    "EventBus",
    "EventDrivenArchitecture",
    "LatencyMonitor",
    "Layer",
    "MemoryManager",
    "MemoryReading",
    "OnnxModel",
    "PerformanceDashboard",
    "PerformanceOptimizer",
    "PerformanceSystem",
    "RealtimeMetricsCollector",
    "StageTimer",
    "ThroughputOptimizer",
    "retry_with_backoff",
]

_HOMES = {
    "breaker": ("CircuitBreaker", "CircuitOpenError"),
    "bus.bus": ("EventBus", "EventDrivenArchitecture"),
    "cache.manager": ("CacheManager",),
    "circuit": ("CircuitState",),
    "compute.models": ("DenseNetwork", "Layer", "OnnxModel"),
    "compute.optimizer": ("Comparison", "PerformanceOptimizer"),
    "latency": ("Bottleneck", "LatencyMonitor", "StageTimer"),
    "memory": ("MemoryManager", "MemoryReading"),
    "parts": ("BusFigures", "CacheFigures"),
    "realtime": ("RealtimeMetricsCollector",),
    "retry": ("retry_with_backoff",),
    "system": ("PerformanceSystem",),
    "throughput": ("ThroughputOptimizer",),
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names}
# It stands on the web server, whose room may know this one.
_MODULES["PerformanceDashboard"] = "exporter.dashboard"


if not TYPE_CHECKING:  # a type checker finds a name that does not exist

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
