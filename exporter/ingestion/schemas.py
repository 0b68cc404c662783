"""The schemas that events in Confluent's wire format were written with, from the schema registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.config.schema import OutputConfig
from exporter.decoding.formats.avro import Schema, schema_id
from exporter.ingestion.lanes import Lane
from exporter.runtime import logs
from exporter.runtime.worker import ThreadWorker, Worker

if TYPE_CHECKING:
    from exporter.events.writer_schemas import WriterSchemas

log = logs.logger("ingestion")

FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 1.0


class RegisteredSchemas:
    """The schemas of a registry, asked for on a thread of its own at the first event that needs one."""

    def __init__(self, output: OutputConfig) -> None:
        self._output = output
        self._worker: Worker | None = None
        self._schemas: WriterSchemas | None = None

    async def wait_for(self, lane: Lane, value: bytes | None) -> None:
        """Return when the schema of a value is known, or is known not to exist; at once for a value without one.

        Raises `Abandoned` when the partition is released before.
        """
        number = schema_id(value)
        if number is None:
            return
        schemas, seconds = self._client(), FIRST_PAUSE_SECONDS
        while obstacle := schemas.obstacle(number):
            if seconds >= LONGEST_PAUSE_SECONDS:
                log.warning("events wait for their schema, retrying", extra={"error": obstacle})
            await lane.pause(seconds)
            seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)

    def find(self, number: int) -> Schema:
        """Return a schema that was waited for; raise `Rejected` when there is none."""
        return self._client().find(number)

    def close(self) -> None:
        """End the thread."""
        if self._worker is not None:
            self._worker.stop()

    def _client(self) -> WriterSchemas:
        if self._schemas is None:
            # Imported at the first use: the client of the registry takes 6 MB.
            from exporter.events.registry_http import RegistryHttp
            from exporter.events.writer_schemas import WriterSchemas, fetch

            http = RegistryHttp(self._output)
            self._worker = ThreadWorker("schemas")
            self._schemas = WriterSchemas(lambda number: fetch(http, number), self._worker)
        return self._schemas
