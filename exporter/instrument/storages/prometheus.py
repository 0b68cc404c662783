"""The registry itself: metrics that Prometheus scrapes from the program."""

from __future__ import annotations

import os

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.instrument.storages.storage import Source


class PrometheusStorage:
    """The page of a registry of prometheus-client; a collector with this storage makes its metrics there."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = REGISTRY if registry is None else registry

    def store(self, source: Source) -> int:
        """Return the number of samples: they are in the registry already."""
        return len(source.snapshot())

    def page(self) -> bytes:
        """Return the page for Prometheus, of all processes in multiprocess mode; `content_type` is its header."""
        if not in_multiprocess_mode():
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)

    def close(self) -> None:
        """Leave the registry as it is."""


def in_multiprocess_mode() -> bool:
    """Return whether prometheus-client shares its values between processes."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ or "prometheus_multiproc_dir" in os.environ
