"""The events of ingesting services in the audited topics, for the expected side of an audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.config.conflicts import INGESTION_TOPICS
from exporter.config.schema import Config
from exporter.config.subscription import Subscription
from exporter.model import Record, Rejected


class IngestionReader:
    """Reader of the events that a sidecar with this configuration reads; with `ingestion.enabled` off, of none.

    `topics` are the names of the events by their topics in Kafka.
    """

    def __init__(self, config: Config) -> None:
        names = INGESTION_TOPICS if config.ingestion.enabled else ()
        self.topics = {config.ingestion.prefix + name: name for name in names}
        self._find = _find(config) if names and config.output.schema_registry is not None else None

    @property
    def subscription(self) -> Subscription:
        """The topics of the events."""
        return Subscription(self.topics)

    def check(self, record: Record) -> None:
        """Return for a valid event; raise `Rejected` for other records, `RegistryError` without a schema."""
        # Loaded when it is needed.
        from exporter.ingestion.encodings import decode
        from exporter.ingestion.events import NoEvent

        try:
            decode(self.topics[record.partition.topic], record.value, self._find)
        except NoEvent as error:
            raise Rejected(error.reason, str(error)) from None


def _find(config: Config) -> Callable[[int], Any]:
    # Loaded when it is needed, as is the client of the registry.
    from exporter.events.registry_http import RegistryHttp
    from exporter.events.writer_schemas import WriterSchemas, fetch
    from exporter.runtime.worker import ThreadWorker

    http = RegistryHttp(config.output)
    return WriterSchemas(lambda number: fetch(http, number), ThreadWorker("schemas")).require
