"""Makes the loop, with all that a record passes between source and channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from exporter.config.schema import Config
from exporter.config.subscription import shown_as
from exporter.core import native
from exporter.events import framing
from exporter.events.encoding import utc_text
from exporter.events.factory import Event, EventFactory
from exporter.feed_loop import FeedLoop
from exporter.feeds.evaluator import Evaluator
from exporter.feeds.table import FeedTable
from exporter.instrument.selection import selection
from exporter.loop import NATIVE_PART_BYTES, PART_BYTES
from exporter.loop_settings import loop_settings
from exporter.model import EventType, RiskEventType
from exporter.pipeline import Pipeline, PipelineSettings
from exporter.publishing.channels import Channel
from exporter.publishing.dispatch import Backlog
from exporter.publishing.publisher import Group, Publisher
from exporter.runtime.clock import Clock
from exporter.runtime.worker import Worker
from exporter.source.source import Source
from exporter.store.store import Store

if TYPE_CHECKING:
    from exporter.decoding.record_decoder import FindSchemas


class GroupMember(Source, Group, Protocol):
    """A source of records that is a member of a consumer group, as `KafkaSource` is."""


def make_loop(
    config: Config,
    source: GroupMember,
    channel: Channel,
    store: Store,
    clock: Clock,
    worker: Worker,
    *,
    until_caught_up: bool = False,
    find_schemas: FindSchemas | None = None,
) -> FeedLoop:
    """Return the loop that reads from `source` and publishes to `channel`; the clock is its only time.

    Blocking calls of the channel run on `worker`. `find_schemas` returns what finds the Avro schemas of a registry.
    """
    settings, families = loop_settings(config, find_schemas), selection(config.metrics)
    events = event_factory(config)
    return FeedLoop(
        source,
        make_pipeline(config, events, settings.pipeline),
        make_publisher(config, source, channel, events, clock, worker),
        store,
        Evaluator(settings.comparison),
        summary_interval=config.output.summary_interval,
        until_caught_up=until_caught_up,
        clock=clock,
        families=families,
        part_bytes=PART_BYTES if native(config.input.core) is None else NATIVE_PART_BYTES,
    )


def event_factory(config: Config) -> EventFactory:
    """Return the factory of all events of a sidecar."""
    output = config.output
    encoder = framing.encoder(output, core=config.input.core)
    return EventFactory(encoder, config.instance, output.topic, output.error_topic)


def make_publisher(
    config: Config, group: Group, channel: Channel, events: EventFactory, clock: Clock, worker: Worker
) -> Publisher:
    """Return the publisher of events to `channel`, whose blocking calls run on `worker`."""

    def make_error_event(event: Event, error: str) -> Event | None:
        return events.unsendable(event, error, utc_text(clock.now_ms()))

    output, families = config.output, selection(config.metrics)
    types = (*EventType, *(RiskEventType if config.risk.enabled else ()))
    return Publisher(
        channel,
        group,
        Backlog(output.backlog),
        output.commit_interval,
        clock,
        worker,
        make_error_event,
        families,
        types,
    )


def make_pipeline(config: Config, events: EventFactory, settings: PipelineSettings) -> Pipeline:
    """Return what applies records to feeds and creates their events."""
    return Pipeline(
        settings.decoder,
        FeedTable(*settings.table),
        events,
        batch_events=settings.batch_events,
        summary_period_seconds=settings.summary_period_seconds,
        live_age_seconds=settings.live_age_seconds,
        keep_updates=config.redis.url is not None,
        shown_as=shown_as(config.input.topics, config.metrics.topics),
    )
