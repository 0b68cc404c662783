"""What a storage is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from prometheus_client import Metric

from exporter.instrument.measurements import Measurement


class StorageError(Exception):
    """The metrics could not be stored."""


class Source(Protocol):
    """What is stored: the metrics of a collector, read at each call."""

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as families of prometheus-client."""

    def snapshot(self) -> list[Measurement]:
        """Return the metrics as single samples."""


class Storage(Protocol):
    """A place for metrics. Both methods may block; a collector calls them in a thread where it must not."""

    def store(self, source: Source) -> int:
        """Store the metrics; return the number of samples. Raises `StorageError`."""

    def close(self) -> None:
        """Release what the storage holds; raises nothing."""
