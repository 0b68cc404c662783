"""A `Config` becomes a running sidecar: the only place that wires parts together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector

from exporter import clients, logs
from exporter.analysis import Analysis
from exporter.cardinality import FeedFilter
from exporter.clock import Clock, SystemClock
from exporter.codec import Decoder
from exporter.configuration.config import Config
from exporter.configuration.notation import host_and_port
from exporter.delivery.backlog import Backlog
from exporter.delivery.channel import Channel
from exporter.delivery.publisher import Publisher
from exporter.delivery.sending import Frames
from exporter.delivery.sink import CountingProducer, IdempotentChannel, NullChannel, TransactionalChannel
from exporter.delivery.worker import ThreadWorker
from exporter.events import framing
from exporter.events.factory import Event, EventFactory
from exporter.events.values import utc_text
from exporter.feeds import FeedTable
from exporter.isolation import Isolation
from exporter.logs import LogCounter
from exporter.loop import Loop
from exporter.metrics.process import OwnProcess
from exporter.metrics.sidecar import SidecarMetrics
from exporter.source import KafkaSource
from exporter.store.store import NullStore, Store
from exporter.threads import Guard, Start, ThreadDied
from exporter.unreachable import Unreachable
from exporter.version import version
from exporter.watching.comparison import comparison
from exporter.watching.diagnosis import Rounds
from exporter.watching.watch import watches
from exporter.web.hosts import Access
from exporter.web.interface import WebMetrics
from exporter.web.server import WebServer
from exporter.web.views import SidecarViews

log = logs.logger("app")

STORE_STOP_SECONDS = 2.0


class App:
    """One sidecar. `run` belongs to the thread that calls it, `stop` to any."""

    def __init__(self, config: Config, *, until_caught_up: bool = False) -> None:
        self.port = 0
        self._guard = Guard(self._end)
        self.start_thread: Start = self._guard.start
        self._logs = LogCounter()
        registry = CollectorRegistry()
        clock = SystemClock()
        properties = {**config.kafka.properties, **config.kafka.consumer_properties}
        self._unreachable = Unreachable(config.kafka.bootstrap_servers, properties)
        source = KafkaSource(
            config.input,
            partial(clients.consumer, config),
            partial(clients.admin, config),
            partial(clients.prober, config),
            Isolation(partial(clients.isolated_properties, config)),
            self._unreachable,
        )
        channel = _channel(config, source, registry)
        output = config.output
        events = EventFactory(framing.encoder(output), config.instance, output.topic, output.error_topic)
        self.store = _store(config, registry, self.start_thread)
        self.loop = Loop(
            source,
            _analysis(config, events),
            _publisher(config, channel, source, clock, events),
            self.store,
            Rounds(comparison(config)),
            summary_interval=config.output.summary_interval,
            until_caught_up=until_caught_up,
            clock=clock,
        )
        metrics = SidecarMetrics(config, self.loop, source.counts, self._logs, version())
        OwnProcess(registry=registry)
        GCCollector(registry=registry)
        self.views = SidecarViews(config, self.loop, self.store, metrics, registry)
        host, port = host_and_port(config.web.listen_address)
        path = config.web.telemetry_path
        access = Access(config.web.allowed_hosts, config.web.config_page)
        self._web = WebServer(
            self.views,
            host,
            port,
            path,
            version=version(),
            metrics=WebMetrics(registry),
            access=access,
            start_thread=self.start_thread,
        )

    def run(self, started: threading.Event | None = None) -> bool:
        """Serve and consume until `stop` is called; return whether all clients ended in time.

        `started` is set once HTTP is served, on `port`. Raises `OSError` when it cannot be, `KafkaException` when
        a client is broken for good, and `ThreadDied` when a part of it ended, after what waited was published.
        """
        logging.getLogger("exporter").addHandler(self._logs)
        clients.log.filters.insert(0, self._unreachable)  # first explained, then kept back if that was said before
        try:
            self.port = self._web.start()
            self.store.start()
            log.info("serving", extra={"port": self.port, "version": version()})
            if started is not None:
                started.set()
            clean = self.loop.run()
            if self._guard.death:
                raise ThreadDied(self._guard.death)
            return clean
        finally:
            self.store.stop(STORE_STOP_SECONDS)
            self._web.stop()
            clients.log.removeFilter(self._unreachable)
            logging.getLogger("exporter").removeHandler(self._logs)

    def stop(self) -> None:
        """End `run` soon: publish what waits and leave the group."""
        self.loop.stop()

    def _end(self, why: str) -> None:
        log.critical("the sidecar ends", extra={"reason": why})
        self.stop()


def _analysis(config: Config, events: EventFactory) -> Analysis:
    table = FeedTable(config.input.limits, FeedFilter(config.feeds.include, config.feeds.exclude), watches(config))
    for expected in config.feeds.expected:
        table.expect(expected.feed)
    return Analysis(
        Decoder(config.input.limits, config.input.symbol_field),
        table,
        events,
        batch_events=config.output.batch_events,
        summary_period_seconds=config.output.summary_interval,
        live_age_seconds=config.input.live_age,
        keep_updates=config.redis.url is not None,
    )


def _publisher(config: Config, channel: Channel, source: KafkaSource, clock: Clock, events: EventFactory) -> Publisher:
    backlog, interval = Backlog(config.output.backlog), config.output.commit_interval

    def report(event: Event, trouble: str) -> Event | None:
        return events.given_up(event, trouble, utc_text(clock.now_ms()))

    return Publisher(channel, source, backlog, interval, clock, ThreadWorker("publisher"), report)


def _store(config: Config, registry: CollectorRegistry, start: Start) -> Store:
    if config.redis.url is None:
        return NullStore()
    # Loaded when it is asked for: the client of Redis takes 7 MB.
    from exporter.store.counts import StoreMetrics
    from exporter.store.redis_store import RedisStore

    return RedisStore(config.redis, StoreMetrics(registry), start_thread=start)


def _channel(config: Config, source: KafkaSource, registry: CollectorRegistry) -> Channel:
    if not config.output.enabled:
        return NullChannel(source.store)
    prepare = _preparation(config, registry)
    if config.output.delivery == "exactly_once":
        return TransactionalChannel(partial(clients.producer, config), prepare, clients.transaction_seconds(config))
    make = partial(CountingProducer, clients.producer_properties(config))
    return IdempotentChannel(make, prepare, source.store)


def _preparation(config: Config, registry: CollectorRegistry) -> Callable[[], Frames]:
    """Return what has to be done before the first event: create topics that are missing, find the bodies' frames."""
    frames = framing.frames(config.output, registry)

    def prepare() -> Frames:
        clients.create_topics(config)
        return frames()

    return prepare
