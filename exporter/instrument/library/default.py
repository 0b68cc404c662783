"""The collector of the process, and calls that record with it by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from exporter.instrument.library.collector import MetricsCollector
from exporter.instrument.library.family import Labels


@cache
def get_metrics_collector() -> MetricsCollector:
    """Return the collector of the process: its metrics are in prometheus-client's default registry."""
    return MetricsCollector()


def record_counter(name: str, value: float = 1, labels: Labels | None = None, description: str = "") -> None:
    """Add to a counter of the process' collector."""
    get_metrics_collector().counter(name, description).increment(value, labels)


def record_gauge(name: str, value: float, labels: Labels | None = None, description: str = "") -> None:
    """Set a gauge of the process' collector."""
    get_metrics_collector().gauge(name, description).set(value, labels)


def record_histogram(
    name: str,
    value: float,
    labels: Labels | None = None,
    description: str = "",
    *,
    buckets: Sequence[float] | None = None,
) -> None:
    """Observe a value with a histogram of the process' collector."""
    get_metrics_collector().histogram(name, description, buckets=buckets).observe(value, labels)


def record_summary(name: str, value: float, labels: Labels | None = None, description: str = "") -> None:
    """Observe a value with a summary of the process' collector."""
    get_metrics_collector().summary(name, description).observe(value, labels)
