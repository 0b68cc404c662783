"""Parts for programs with milliseconds to spend: monitors, advice, caches, an event bus, retries, breakers and more.

Programs import the names of `__all__` from here; each is imported at its first use, with the libraries it needs. The
sidecar imports only what is pure. All metrics begin with `program_`, in prometheus-client's registry.
"""

from typing import TYPE_CHECKING

from exporter.runtime.lazy import lazy_names

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

_NAMES = {
    "exporter.performance.breaker": ("CircuitBreaker", "CircuitOpenError"),
    "exporter.performance.bus.bus": ("EventBus", "EventDrivenArchitecture"),
    "exporter.performance.cache.manager": ("CacheManager",),
    "exporter.performance.circuit": ("CircuitState",),
    "exporter.performance.compute.models": ("DenseNetwork", "Layer", "OnnxModel"),
    "exporter.performance.compute.optimizer": ("Comparison", "PerformanceOptimizer"),
    "exporter.performance.latency": ("Bottleneck", "LatencyMonitor", "StageTimer"),
    "exporter.performance.memory": ("MemoryManager", "MemoryReading"),
    "exporter.performance.parts": ("BusFigures", "CacheFigures"),
    "exporter.performance.realtime": ("RealtimeMetricsCollector",),
    "exporter.performance.retry": ("retry_with_backoff",),
    "exporter.performance.system": ("PerformanceSystem",),
    "exporter.performance.throughput": ("ThroughputOptimizer",),
    # It stands on the web server, whose room may know this one.
    "exporter.dashboard": ("PerformanceDashboard",),
}

if not TYPE_CHECKING:  # a type checker finds a name that does not exist
    __getattr__, __dir__ = lazy_names(__name__, _NAMES)
