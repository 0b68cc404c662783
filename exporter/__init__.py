"""Monitoring of market data batches: Prometheus metrics and Kafka events from a single consumer.

Programs use `BatchAnalyzer`, `BatchPerformanceMonitor` and `BatchMonitoringProducer`, and the values and errors beside
them; `__version__` is the version of the distribution. Each is imported at its first use: the package itself imports
no client library.
"""

from typing import TYPE_CHECKING

from exporter.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from exporter.api.analyzer import BatchAnalyzer
    from exporter.api.monitor import BatchPerformanceMonitor
    from exporter.api.producer import BatchMonitoringProducer
    from exporter.config.loader import ConfigError
    from exporter.model import BatchResult, Rejected
    from exporter.publishing.async_producer import SendError
    from exporter.runtime.version import __version__ as __version__

__all__ = [
    "BatchAnalyzer",
    "BatchMonitoringProducer",
    "BatchPerformanceMonitor",
    "BatchResult",
    "ConfigError",
    "Rejected",
    "SendError",
]

_NAMES = {
    "exporter.api.analyzer": ("BatchAnalyzer",),
    "exporter.api.producer": ("BatchMonitoringProducer",),
    "exporter.api.monitor": ("BatchPerformanceMonitor",),
    "exporter.model": ("BatchResult", "Rejected"),
    "exporter.config.loader": ("ConfigError",),
    "exporter.publishing.async_producer": ("SendError",),
    "exporter.runtime.version": ("__version__",),
}

if not TYPE_CHECKING:  # a type checker finds a name that does not exist
    __getattr__, __dir__ = lazy_names(__name__, _NAMES)
