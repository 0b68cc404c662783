"""What `PerformanceSystem` reads of parts that a program may have: caches and event buses. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class CacheFigures(Protocol):
    """A cache such as `CacheManager`."""

    @property
    def name(self) -> str:
        """Return the name of the cache."""

    def get_cache_statistics(self) -> Mapping[str, Any]:
        """Return `entries`, `capacity`, and since the start `evictions`, `requests` and `hits`."""


class BusFigures(Protocol):
    """An event bus such as `EventBus`."""

    @property
    def name(self) -> str:
        """Return the name of the bus."""

    def get_statistics(self) -> Mapping[str, Any]:
        """Return `handlers`, each with `dropped` (since the start), `queue_length` and `queue_capacity`."""
