"""Monitoring of market data batches: Prometheus metrics and Kafka events from a single consumer.

Programs use `BatchAnalyzer`, `BatchPerformanceMonitor` and `BatchMonitoringProducer`, and the values and errors beside
them; `__version__` is the version of the distribution. Each is imported at its first use: the package itself imports
no client library.
"""

from importlib import import_module
from typing import TYPE_CHECKING

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

_HOMES = {
    "BatchAnalyzer": "exporter.api.analyzer",
    "BatchMonitoringProducer": "exporter.api.producer",
    "BatchPerformanceMonitor": "exporter.api.monitor",
    "BatchResult": "exporter.model",
    "ConfigError": "exporter.config.loader",
    "Rejected": "exporter.model",
    "SendError": "exporter.publishing.async_producer",
    "__version__": "exporter.runtime.version",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
