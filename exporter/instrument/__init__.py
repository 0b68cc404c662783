"""Histograms, metric families and the text formats, and the instrumentation library for other programs.

Programs import the names of `__all__` from here; each is imported at its first use, so that the sidecar, which needs
only the pure modules beside this file, loads nothing of the library. The files beside this one are pure; `library` and
`storages` have clocks, threads and sockets.
"""

from typing import TYPE_CHECKING

from exporter.runtime.lazy import lazy_names

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

_NAMES = {
    "exporter.instrument.measurements": ("Measurement", "MetricType"),
    "exporter.instrument.results": ("Failure", "Result", "Success", "UnwrapError"),
    "exporter.instrument.library.collector": ("MetricsCollector",),
    "exporter.instrument.library.decorators": ("CounterMetric", "PerformanceMonitored", "TimingMetric"),
    "exporter.instrument.library.default": (
        "get_metrics_collector",
        "record_counter",
        "record_gauge",
        "record_histogram",
        "record_summary",
    ),
    "exporter.instrument.library.metrics": ("Counter", "Gauge", "Histogram", "Summary"),
    "exporter.instrument.library.periodic": ("PeriodicPush",),
    "exporter.instrument.storages.file": ("FileStorage",),
    "exporter.instrument.storages.memory": ("MemoryMetricsStorage", "MemoryStorage"),
    "exporter.instrument.storages.prometheus": ("PrometheusStorage",),
    "exporter.instrument.storages.push": ("PushStorage",),
    "exporter.instrument.storages.storage": ("Storage", "StorageError"),
}

if not TYPE_CHECKING:  # a type checker finds a name that does not exist
    __getattr__, __dir__ = lazy_names(__name__, _NAMES)
