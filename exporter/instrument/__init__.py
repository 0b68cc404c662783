"""Histograms, metric families and the text formats, and the instrumentation library for other programs.

Programs import the names of `__all__` from here; each is imported at its first use, so that the sidecar, which needs
only the pure modules beside this file, loads nothing of the library. The files beside this one are pure; `library` and
`storages` have clocks, threads and sockets.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.instrument.library.collector import MetricsCollector
    from exporter.instrument.library.decorators import CounterMetric, PerformanceMonitored, TimingMetric
    from exporter.instrument.library.default import (
        get_metrics_collector,
        record_counter,
        record_gauge,
        record_histogram,
        record_summary,
    )
    from exporter.instrument.library.metrics import Counter, Gauge, Histogram, Summary
    from exporter.instrument.library.periodic import PeriodicPush
    from exporter.instrument.measurements import Measurement, MetricType
    from exporter.instrument.results import Failure, Result, Success, UnwrapError
    from exporter.instrument.storages.file import FileStorage
    from exporter.instrument.storages.memory import MemoryMetricsStorage, MemoryStorage
    from exporter.instrument.storages.prometheus import PrometheusStorage
    from exporter.instrument.storages.push import PushStorage
    from exporter.instrument.storages.storage import Storage, StorageError

__all__ = [
    "Counter",
    "CounterMetric",
    "Failure",
    "FileStorage",
    "Gauge",
    "Histogram",
    "Measurement",
    "MemoryMetricsStorage",
    "MemoryStorage",
    "MetricType",
    "MetricsCollector",
    "PerformanceMonitored",
    "PeriodicPush",
    "PrometheusStorage",
    "PushStorage",
    "Result",
    "Storage",
    "StorageError",
    "Success",
    "Summary",
    "TimingMetric",
    "UnwrapError",
    "get_metrics_collector",
    "record_counter",
    "record_gauge",
    "record_histogram",
    "record_summary",
]

_HOMES = {
    "measurements": ("Measurement", "MetricType"),
    "results": ("Failure", "Result", "Success", "UnwrapError"),
    "library.collector": ("MetricsCollector",),
    "library.decorators": ("CounterMetric", "PerformanceMonitored", "TimingMetric"),
    "library.default": (
        "get_metrics_collector",
        "record_counter",
        "record_gauge",
        "record_histogram",
        "record_summary",
    ),
    "library.metrics": ("Counter", "Gauge", "Histogram", "Summary"),
    "library.periodic": ("PeriodicPush",),
    "storages.file": ("FileStorage",),
    "storages.memory": ("MemoryMetricsStorage", "MemoryStorage"),
    "storages.prometheus": ("PrometheusStorage",),
    "storages.push": ("PushStorage",),
    "storages.storage": ("Storage", "StorageError"),
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # a type checker finds a name that does not exist

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
