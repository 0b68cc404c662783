"""Makes what connects to Kafka, the schema registry and Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError
from prometheus_client import CollectorRegistry

from exporter.config.schema import Config
from exporter.events import framing
from exporter.kafka import clients
from exporter.kafka.credentials import KafkaLogin
from exporter.kafka.session import KafkaSession
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


def make_source(
    config: Config,
    session: KafkaSession,
    obstacle: Callable[[str, bytes | None], str] | None = None,
    consumer: Callable[[Config, Callable[[KafkaError], None]], Consumer] = clients.consumer,
) -> KafkaSource:
    """Return the source of records; one waits while `obstacle` returns a reason for its topic and value."""
    login = session.login
    make_consumer = login.maker("consumer", config, consumer)
    return KafkaSource(
        config.input,
        make_consumer,
        login.maker("admin", config, clients.admin),
        login.maker("consumer", config, clients.prober),
        Isolation(lambda: clients.isolated_properties(login.present(config))),
        session.faults,
        hold=None if obstacle is None else Held(obstacle),
        is_outdated=make_consumer.is_outdated,
        lifeline=session.lifeline(),
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


def make_channel(config: Config, source: KafkaSource, registry: CollectorRegistry, login: KafkaLogin) -> Channel:
    """Return the way of events to Kafka, by `output.delivery`; one that drops them when output is off."""
    if not config.output.enabled:
        return NullChannel(source.store)
    prepare = _preparation(config, registry, login)
    if config.output.delivery == "exactly_once":
        make = login.maker("producer", config, clients.producer)
        return TransactionalChannel(make, prepare, clients.transaction_seconds(config), is_superseded=make.is_outdated)
    keeping = login.maker("producer", config, _error_keeping)
    return IdempotentChannel(keeping, prepare, source.store, keeping.is_outdated)


def _error_keeping(config: Config, /, **more: Any) -> ErrorKeepingProducer:
    return ErrorKeepingProducer(clients.producer_properties(config), **more)


def _preparation(config: Config, registry: CollectorRegistry, login: KafkaLogin) -> Callable[[], framing.FrameByType]:
    """Return a function to call before the first event: it creates missing topics and returns the frames."""
    frames = framing.frames(config.output, registry, framing.topics(config.output, config.risk))

    def prepare() -> framing.FrameByType:
        clients.create_topics(login.present(config))
        return frames()

    return prepare
