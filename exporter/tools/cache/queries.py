"""Queries that the web server makes of a cache service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.config.display import redacted
from exporter.config.schema import Config
from exporter.instrument.exposition import AnyFamily
from exporter.instrument.selection import selection
from exporter.model import Status
from exporter.runtime.foreign_text import without_secrets


class CacheQueries:
    """The queries of a server with pages of its own; see `exporter.web.interface.Queries`."""

    def __init__(
        self, config: Config, registry: CollectorRegistry, healthy: Callable[[], Status], ready: Callable[[], Status]
    ) -> None:
        self._config = config
        self._registry = registry
        self._shown = selection(config.metrics)
        self.healthy, self.ready = healthy, ready

    def collect(self, _is_protobuf: bool = False) -> list[AnyFamily]:
        """See Queries."""
        return self._shown.chosen(list(self._registry.collect()))

    def in_turn(self, pieces: Iterable[bytes]) -> Iterable[bytes]:
        """See Queries."""
        return pieces

    def config(self) -> Mapping[str, object]:
        """See Queries."""
        shown: Any = without_secrets(redacted(self._config))
        return dict(shown)

    def watch(self) -> None:
        """See Queries; there are no streams."""
