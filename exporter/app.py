"""The wiring of a sidecar: creates all parts from a `Config` and connects them. No other module does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector

from exporter.config.addresses import host_and_port
from exporter.config.schema import Config
from exporter.config.subscription import shown_as
from exporter.events import framing
from exporter.events.encoding import utc_text
from exporter.events.factory import Event, EventFactory
from exporter.feeds.evaluator import Evaluator
from exporter.feeds.table import FeedTable
from exporter.instrument.selection import selection
from exporter.kafka import clients
from exporter.kafka.connection_errors import ConnectionFaults
from exporter.loop import Loop
from exporter.loop_settings import loop_settings
from exporter.metrics.process import OwnProcess
from exporter.metrics.sidecar import SidecarMetrics
from exporter.page.page import LivePage
from exporter.pipeline import Pipeline, PipelineSettings
from exporter.publishing.channels import Channel
from exporter.publishing.channels.idempotent import ErrorKeepingProducer, IdempotentChannel
from exporter.publishing.channels.null import NullChannel
from exporter.publishing.channels.transactional import TransactionalChannel
from exporter.publishing.dispatch import Backlog
from exporter.publishing.publisher import Group, Publisher
from exporter.reload import Prepare, Reloader
from exporter.runtime import logs
from exporter.runtime.clock import Clock, SystemClock
from exporter.runtime.logs import LogCounter
from exporter.runtime.threads import Guard, Start, ThreadDied
from exporter.runtime.version import __version__
from exporter.runtime.worker import ThreadWorker, Worker
from exporter.source.consumer import KafkaSource
from exporter.source.held import Held
from exporter.source.isolation import Isolation
from exporter.source.source import Source
from exporter.status import SidecarStatus
from exporter.store.store import NullStore, Store
from exporter.web.hosts import Access
from exporter.web.interface import Lifecycle, Queries, WebMetrics
from exporter.web.queries import SidecarQueries
from exporter.web.server import WebServer

if TYPE_CHECKING:
    from exporter.decoding.record_decoder import FindSchemas
    from exporter.events.writer_schemas import Registries
    from exporter.pushes.groups import PushedGroups
    from exporter.web.config_file import WebConfigFile
    from exporter.web.pushes import PushRoutes

log = logs.logger("app")

STORE_STOP_SECONDS = 2.0
# Of a reload: longer than a rebalance takes the loop, and less than a client waits for its answer.
ADOPT_SECONDS = 25.0


class App:
    """One sidecar. `run` blocks its thread; `stop` may be called from any.

    `load` returns the configuration of a reload, or raises ConfigError; without it, a reload changes nothing.
    """

    def __init__(
        self, config: Config, *, until_caught_up: bool = False, load: Callable[[], Config] | None = None
    ) -> None:
        self.port = 0
        self._guard = Guard(self._end)
        self.start_thread: Start = self._guard.start
        self._log_counter = LogCounter()
        registry, clock = CollectorRegistry(), SystemClock()
        properties = {**config.kafka.properties, **config.kafka.consumer_properties}
        self._faults = ConnectionFaults(config.kafka.bootstrap_servers, properties)
        registries = _registries(config)
        source = _source(config, self._faults, registries)
        self.store = _store(config, registry, self.start_thread)
        find_schemas = None if registries is None else registries.find
        self.loop = make_loop(
            config,
            source,
            _channel(config, source, registry),
            self.store,
            clock,
            ThreadWorker("publisher"),
            until_caught_up=until_caught_up,
            find_schemas=find_schemas,
        )
        self.status = SidecarStatus(self.loop, clock)
        metrics = SidecarMetrics(config, self.status, source.counts, self._log_counter, __version__)
        OwnProcess(registry=registry)
        GCCollector(registry=registry)
        self.web_file = _web_file(config, registry)
        self.pushes = _pushes(config, registry, clock)
        page = LivePage(config, self.status, clock, __version__, self.pushes)
        self._recorder = page.recorder
        extend = list if self.pushes is None else self.pushes.extend
        self.queries = SidecarQueries(
            config, self.status, self.store, metrics, registry, page, self._web_warnings, extend
        )
        self.reloader = Reloader(
            config, load or (lambda: config), self._parts(find_schemas), self.status.reloaded, clock
        )
        self._web = _web_server(
            config, self.queries, registry, self.reloader, self.web_file, self.pushes, self.start_thread
        )

    def run(self, started: threading.Event | None = None) -> bool:
        """Serve and consume until `stop` is called; return whether all clients were closed in time.

        `started` is set once HTTP is served, on `port`. Raises `OSError` when that fails, `KafkaException` when a
        client cannot be created or recovered, and `ThreadDied` when a thread died, after the backlog was published.
        """
        logging.getLogger("exporter").addHandler(self._log_counter)
        clients.log.filters.insert(0, self._faults)  # explains an error before the next filter drops repetitions
        try:
            self.port = self._web.start()
            self.store.start()
            self._recorder.start(self.start_thread)
            log.info("sidecar started, serving HTTP", extra={"port": self.port, "version": __version__})
            if started is not None:
                started.set()
            is_clean = self.loop.run()
            if self._guard.death:
                raise ThreadDied(self._guard.death)
            return is_clean
        finally:
            self._recorder.stop()
            self.store.stop(STORE_STOP_SECONDS)
            self._web.stop()
            clients.log.removeFilter(self._faults)
            logging.getLogger("exporter").removeHandler(self._log_counter)

    def stop(self) -> None:
        """End `run` soon: publish the backlog and leave the group."""
        self.loop.stop()

    def _web_warnings(self) -> tuple[str, ...]:
        return () if self.web_file is None else self.web_file.warnings

    def _parts(self, find_schemas: FindSchemas | None) -> list[Prepare]:
        """Return the parts that take in another configuration, in the order in which it is put in force."""
        return [
            partial(_prepare_loop, self.loop, find_schemas),
            lambda _, config: partial(self._web.allow, _access(config)),
            lambda _, config: partial(self.queries.use, config),
            lambda _, config: partial(logs.reconfigure, config.log.level, config.log.format),
            *([] if self.pushes is None else [partial(_limit_pushes, self.pushes)]),
            *([] if self.web_file is None else [partial(_read_web_file, self.web_file)]),
        ]

    def _end(self, why: str) -> None:
        log.critical("the sidecar stops because of a failure", extra={"reason": why})
        self.stop()


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
) -> Loop:
    """Return the loop that reads from `source` and publishes to `channel`; the clock is its only time.

    Blocking calls of the channel run on `worker`. `find_schemas` returns what finds the Avro schemas of a registry.
    """
    output, families = config.output, selection(config.metrics)
    events = EventFactory(framing.encoder(output), config.instance, output.topic, output.error_topic)

    def make_error_event(event: Event, error: str) -> Event | None:
        return events.unsendable(event, error, utc_text(clock.now_ms()))

    settings = loop_settings(config, find_schemas)
    return Loop(
        source,
        _pipeline(config, events, settings.pipeline),
        Publisher(
            channel,
            source,
            Backlog(output.backlog),
            output.commit_interval,
            clock,
            worker,
            make_error_event,
            families=families,
        ),
        store,
        Evaluator(settings.comparison),
        summary_interval=output.summary_interval,
        until_caught_up=until_caught_up,
        clock=clock,
        families=families,
    )


def _prepare_loop(loop: Loop, find_schemas: FindSchemas | None, running: Config, wanted: Config) -> Callable[[], None]:
    """See Prepare: the settings are made here, and adopted by the thread of the loop."""
    if all(getattr(running, name) == getattr(wanted, name) for name in ("input", "feeds", "output")):
        return lambda: None
    change = partial(loop.reconfigure, loop_settings(wanted, find_schemas))
    return partial(loop.handover.run, change, ADOPT_SECONDS)


def _read_web_file(file: WebConfigFile, _running: Config, _wanted: Config) -> Callable[[], None]:
    """See Prepare: the file is read, and in force at once, as when it changes by itself."""
    file.reload()
    return lambda: None


def _limit_pushes(pushes: PushedGroups, _running: Config, wanted: Config) -> Callable[[], None]:
    """See Prepare."""
    return partial(pushes.use, wanted.web.push)


def _source(config: Config, faults: ConnectionFaults, registries: Registries | None) -> KafkaSource:
    return KafkaSource(
        config.input,
        partial(clients.consumer, config),
        partial(clients.admin, config),
        partial(clients.prober, config),
        Isolation(partial(clients.isolated_properties, config)),
        faults,
        hold=None if registries is None else Held(registries.obstacle),
    )


def _registries(config: Config) -> Registries | None:
    if not any(one.schema_registry for one in config.input.formats):
        return None
    # Loaded when it is needed: the client of the registry takes 6 MB.
    from exporter.events.writer_schemas import Registries

    return Registries(config.input.formats, lambda: ThreadWorker("schemas"))


def _pipeline(config: Config, events: EventFactory, settings: PipelineSettings) -> Pipeline:
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


def _web_file(config: Config, registry: CollectorRegistry) -> WebConfigFile | None:
    if config.web.config_file is None:
        return None
    # Loaded when it is needed, with the parts for TLS and passwords.
    from exporter.web.config_file import WebConfigFile, WebFileMetrics

    return WebConfigFile(config.web.config_file, WebFileMetrics(registry))


def _pushes(config: Config, registry: CollectorRegistry, clock: Clock) -> PushedGroups | None:
    if not config.web.push.enabled:
        return None
    # Loaded when it is needed.
    from exporter.pushes.groups import PushedGroups

    return PushedGroups(config.web.push, registry, clock)


def _push_routes(config: Config, groups: PushedGroups | None) -> PushRoutes | None:
    if groups is None:
        return None
    from exporter.web.pushes import PushRoutes

    return PushRoutes(groups, config.web.telemetry_path)


def _web_server(
    config: Config,
    queries: Queries,
    registry: CollectorRegistry,
    lifecycle: Lifecycle,
    web_file: WebConfigFile | None,
    pushes: PushedGroups | None,
    start: Start,
) -> WebServer:
    host, port = host_and_port(config.web.listen_address)
    return WebServer(
        queries,
        host,
        port,
        config.web.telemetry_path,
        metrics=WebMetrics(registry),
        access=_access(config),
        web_file=web_file,
        lifecycle=lifecycle,
        pushes=_push_routes(config, pushes),
        start_thread=start,
    )


def _access(config: Config) -> Access:
    web = config.web
    return Access(web.allowed_hosts, web.config_page, web.enable_lifecycle)


def _store(config: Config, registry: CollectorRegistry, start: Start) -> Store:
    if config.redis.url is None:
        return NullStore()
    # Imported only when configured: the client of Redis takes 7 MB.
    from exporter.store.client import StoreMetrics
    from exporter.store.redis_store import RedisStore

    return RedisStore(config.redis, StoreMetrics(registry), start_thread=start)


def _channel(config: Config, source: KafkaSource, registry: CollectorRegistry) -> Channel:
    if not config.output.enabled:
        return NullChannel(source.store)
    prepare = _preparation(config, registry)
    if config.output.delivery == "exactly_once":
        return TransactionalChannel(partial(clients.producer, config), prepare, clients.transaction_seconds(config))
    make = partial(ErrorKeepingProducer, clients.producer_properties(config))
    return IdempotentChannel(make, prepare, source.store)


def _preparation(config: Config, registry: CollectorRegistry) -> Callable[[], framing.FrameByType]:
    """Return a function to call before the first event: it creates missing topics and returns the frames."""
    frames = framing.frames(config.output, registry)

    def prepare() -> framing.FrameByType:
        clients.create_topics(config)
        return frames()

    return prepare
