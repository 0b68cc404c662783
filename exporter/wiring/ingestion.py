"""Makes what reads the events of ingesting services, beside the loop of the batches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from exporter.config.conflicts import INGESTION_TOPICS
from exporter.config.schema import Config
from exporter.config.subscription import ingestion_group, shown_as
from exporter.instrument.selection import selection
from exporter.kafka import clients
from exporter.kafka.session import KafkaSession
from exporter.publishing.channels import Channel
from exporter.runtime.clock import Clock
from exporter.runtime.threads import Start
from exporter.runtime.worker import ThreadWorker, Worker
from exporter.store.store import NullStore
from exporter.wiring.flow import GroupMember, event_factory, make_publisher
from exporter.wiring.services import make_channel, make_source

if TYPE_CHECKING:
    from exporter.events.writer_schemas import WriterSchemas
    from exporter.ingestion_loop import IngestionLoop

# Records before the committed offset of each partition that are read again after an assignment: the time that open
# rounds, rates and usual durations survive a restart.
READ_AGAIN = 1000
# These events have no summaries: a timer that does nothing.
NO_SUMMARIES_SECONDS = 3600.0


class IngestionThread:
    """The thread of the loop of ingestion events; without a loop there is none."""

    def __init__(self, loop: IngestionLoop | None, *, until_caught_up: bool) -> None:
        self._loop = loop
        self._until_caught_up = until_caught_up
        self._thread: threading.Thread | None = None
        self._is_clean = True

    def start(self, start: Start) -> None:
        """Begin to read."""
        if self._loop is not None:
            self._thread = start("ingestion", self._run)

    def stop(self) -> None:
        """End soon; from any thread."""
        if self._loop is not None:
            self._loop.stop()

    def finish(self) -> bool:
        """End, if needed after all was read; return whether all clients were closed in time."""
        if not self._until_caught_up:
            self.stop()
        if self._thread is not None:
            self._thread.join()
        return self._is_clean

    def _run(self) -> None:
        if self._loop is not None:
            self._is_clean = False
            self._is_clean = self._loop.run()


def make_ingestion(
    config: Config,
    session: KafkaSession,
    clock: Clock,
    *,
    until_caught_up: bool = False,
) -> IngestionLoop | None:
    """Return the loop that reads the events of ingesting services; None unless `ingestion.enabled`."""
    if not config.ingestion.enabled:
        return None
    own, schemas = _own(config), _schemas(config)
    obstacle = None if schemas is None else partial(_obstacle, schemas)
    source = make_source(own, session, obstacle, clients.ingestion_consumer)
    # The channel of the batches shows the requests to the schema registry.
    channel = make_channel(own, source, CollectorRegistry(), session.login)
    worker, find = ThreadWorker("ingestion-publisher"), None if schemas is None else schemas.find
    return make_ingestion_loop(own, source, channel, clock, worker, until_caught_up=until_caught_up, find=find)


def make_ingestion_loop(
    config: Config,
    source: GroupMember,
    channel: Channel,
    clock: Clock,
    worker: Worker,
    *,
    until_caught_up: bool = False,
    find: Callable[[int], Any] | None = None,
) -> IngestionLoop:
    """Return the loop that reads events from `source`; the clock is its only time.

    `find` returns the schema of an id of the schema registry.
    """
    # Loaded when it is needed.
    from exporter.ingestion.view.pipeline import IngestionPipeline
    from exporter.ingestion.view.view import IngestionView, ViewLimits
    from exporter.ingestion_loop import IngestionLoop

    settings, families, events = config.ingestion, selection(config.metrics), event_factory(config)
    limits = ViewLimits(settings.limits.sources, settings.limits.rounds, settings.limits.currencies)
    view = IngestionView(limits, clock.now_ms(), families, round(settings.rate_age * 1000))
    return IngestionLoop(
        source,
        IngestionPipeline(view, settings.prefix, events, shown_as(config.input.topics, config.metrics.topics), find),
        make_publisher(config, source, channel, events, clock, worker),
        NullStore(),
        summary_interval=NO_SUMMARIES_SECONDS,
        until_caught_up=until_caught_up,
        clock=clock,
        families=families,
    )


def _own(config: Config) -> Config:
    """Return the configuration of this loop: its topics, its group, and no formats."""
    topics = tuple(config.ingestion.prefix + name for name in INGESTION_TOPICS)
    group = ingestion_group(config.input.group)
    own = replace(config.input, topics=topics, exclude=(), group=group, formats=(), warm_start=READ_AGAIN)
    return replace(config, input=own)


def _schemas(config: Config) -> WriterSchemas | None:
    """Return the schemas of the registry of the output, which is that of ingesting services, too."""
    if config.output.schema_registry is None:
        return None
    # Loaded when it is needed: the client of the registry takes 6 MB.
    from exporter.events.registry_http import RegistryHttp
    from exporter.events.writer_schemas import WriterSchemas, fetch

    http = RegistryHttp(config.output)
    return WriterSchemas(lambda number: fetch(http, number), ThreadWorker("ingestion-schemas"))


def _obstacle(schemas: WriterSchemas, _topic: str, value: bytes | None) -> str:
    """Return why a record cannot be decoded yet; empty when it can, or never will."""
    from exporter.decoding.formats.avro import schema_id

    number = schema_id(value)
    return "" if number is None else schemas.obstacle(number)
