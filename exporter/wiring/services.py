"""Makes what connects to Kafka, the schema registry and Redis."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError
from prometheus_client import CollectorRegistry

from exporter.config.schema import Config
from exporter.events import framing
from exporter.kafka import clients
from exporter.kafka.connection_errors import ConnectionFaults
from exporter.kafka.credentials import SaslCredentials
from exporter.kafka.msk import login
from exporter.publishing.channels import Channel
from exporter.publishing.channels.idempotent import ErrorKeepingProducer, IdempotentChannel
from exporter.publishing.channels.null import NullChannel
from exporter.publishing.channels.transactional import TransactionalChannel
from exporter.runtime.threads import Start
from exporter.runtime.worker import ThreadWorker
from exporter.source.consumer import KafkaSource
from exporter.source.held import Held
from exporter.source.isolation import Isolation
from exporter.store.store import NullStore, Store

if TYPE_CHECKING:
    from exporter.events.writer_schemas import Registries


def make_faults(config: Config, on_refused: Callable[[], None]) -> ConnectionFaults:
    """Return what explains errors of connections to the brokers, and reports that one refuses the user or password."""
    properties = {**login(config), **config.kafka.properties, **config.kafka.consumer_properties}
    return ConnectionFaults(config.kafka.bootstrap_servers, properties, on_refused=on_refused)


def make_source(
    config: Config,
    faults: ConnectionFaults,
    obstacle: Callable[[str, bytes | None], str] | None = None,
    consumer: Callable[[Config, Callable[[KafkaError], None]], Consumer] = clients.consumer,
    *,
    credentials: SaslCredentials,
) -> KafkaSource:
    """Return the source of records; one waits while `obstacle` returns a reason for its topic and value."""
    return KafkaSource(
        config.input,
        credentials.with_present("consumer", partial(consumer, config)),
        credentials.with_present("admin", partial(clients.admin, config)),
        credentials.with_present("consumer", partial(clients.prober, config)),
        Isolation(credentials.properties("consumer", partial(clients.isolated_properties, config))),
        faults,
        hold=None if obstacle is None else Held(obstacle),
    )


def make_registries(config: Config) -> Registries | None:
    """Return the registries of the formats that name one; None when none does."""
    if not any(one.schema_registry for one in config.input.formats):
        return None
    # Loaded when it is needed: the client of the registry takes 6 MB.
    from exporter.events.writer_schemas import Registries

    return Registries(config.input.formats, lambda: ThreadWorker("schemas"))


def make_store(config: Config, registry: CollectorRegistry, start: Start) -> Store:
    """Return the store of symbol statistics; one that keeps nothing without `redis.url`."""
    if config.redis.url is None:
        return NullStore()
    # Imported only when configured: the client of Redis takes 7 MB.
    from exporter.store.client import StoreMetrics
    from exporter.store.redis_store import RedisStore

    return RedisStore(config.redis, StoreMetrics(registry), start_thread=start)


def make_channel(
    config: Config, source: KafkaSource, registry: CollectorRegistry, credentials: SaslCredentials
) -> Channel:
    """Return the way of events to Kafka, by `output.delivery`; one that drops them when output is off."""
    if not config.output.enabled:
        return NullChannel(source.store)
    prepare = _preparation(config, registry)
    if config.output.delivery == "exactly_once":
        make = credentials.with_present("producer", partial(clients.producer, config))
        return TransactionalChannel(make, prepare, clients.transaction_seconds(config))
    keeping = partial(ErrorKeepingProducer, clients.producer_properties(config))
    return IdempotentChannel(credentials.with_present("producer", keeping), prepare, source.store)


def _preparation(config: Config, registry: CollectorRegistry) -> Callable[[], framing.FrameByType]:
    """Return a function to call before the first event: it creates missing topics and returns the frames."""
    frames = framing.frames(config.output, registry, framing.topics(config.output, config.risk))

    def prepare() -> framing.FrameByType:
        clients.create_topics(config)
        return frames()

    return prepare
