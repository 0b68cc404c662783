"""A `Config` becomes a running sidecar: the only place that wires parts together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from exporter import clients, framing
from exporter.analysis import Analysis
from exporter.cardinality import FeedFilter
from exporter.codec import Decoder
from exporter.config import Config
from exporter.events import EventFactory
from exporter.feeds import Feed, FeedTable
from exporter.logs import LogCounter
from exporter.loop import Loop, SystemClock
from exporter.metrics import SidecarMetrics
from exporter.notation import host_and_port
from exporter.publisher import Channel, Publisher
from exporter.sink import CountingProducer, Frames, IdempotentChannel, NullChannel, TransactionalChannel
from exporter.source import KafkaSource
from exporter.store import NullStore, RedisStore, Store, StoreMetrics
from exporter.version import version
from exporter.views import SidecarViews
from exporter.web import WebMetrics, WebServer

log = logging.getLogger("exporter.app")

STORE_STOP_SECONDS = 2.0


class App:
    """One sidecar. `run` belongs to the thread that calls it, `stop` to any."""

    def __init__(self, config: Config, *, until_caught_up: bool = False) -> None:
        self.port = 0
        self._logs = LogCounter()
        registry = CollectorRegistry()
        clock = SystemClock()
        source = KafkaSource(config.input, partial(clients.consumer, config))
        channel = _channel(config, source, registry)
        self.store = _store(config, registry)
        self.loop = Loop(
            source,
            _analysis(config),
            Publisher(channel, source, config.output.backlog, config.output.commit_interval, clock.monotonic),
            self.store,
            summary_interval=config.output.summary_interval,
            until_caught_up=until_caught_up,
            clock=clock,
        )
        metrics = SidecarMetrics(config, self.loop, source.counts, self._logs, version())
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self.views = SidecarViews(config, self.loop, self.store, metrics, registry)
        host, port = host_and_port(config.web.listen_address)
        path = config.web.telemetry_path
        self._web = WebServer(self.views, host, port, path, version=version(), metrics=WebMetrics(registry))

    def run(self, started: threading.Event | None = None) -> bool:
        """Serve and consume until `stop` is called; return whether all clients ended in time.

        `started` is set once HTTP is served, on `port`. Raises `OSError` when it cannot be, `KafkaException` when
        a client is broken for good.
        """
        logging.getLogger("exporter").addHandler(self._logs)
        try:
            self.port = self._web.start()
            self.store.start()
            log.info("serving", extra={"port": self.port, "version": version()})
            if started is not None:
                started.set()
            return self.loop.run()
        finally:
            self.store.stop(STORE_STOP_SECONDS)
            self._web.stop()
            logging.getLogger("exporter").removeHandler(self._logs)

    def stop(self) -> None:
        """End `run` soon: publish what waits and leave the group."""
        self.loop.stop()


def _analysis(config: Config) -> Analysis:
    table = FeedTable(config.input.limits, FeedFilter(config.feeds.include, config.feeds.exclude))
    for expected in config.feeds.expected:
        table.keep(Feed(expected.feed))
    return Analysis(
        Decoder(config.input.limits, config.input.symbol_field),
        table,
        EventFactory(framing.encoder(config.output), config.instance, config.output.topic, config.output.error_topic),
        batch_events=config.output.batch_events,
        summary_period_seconds=config.output.summary_interval,
        keep_updates=config.redis.url is not None,
    )


def _store(config: Config, registry: CollectorRegistry) -> Store:
    return NullStore() if config.redis.url is None else RedisStore(config.redis, StoreMetrics(registry))


def _channel(config: Config, source: KafkaSource, registry: CollectorRegistry) -> Channel:
    if not config.output.enabled:
        return NullChannel(source.store)
    prepare = _preparation(config, registry)
    if config.output.delivery == "exactly_once":
        return TransactionalChannel(partial(clients.producer, config), prepare)
    return IdempotentChannel(lambda: CountingProducer(clients.producer_properties(config)), prepare, source.store)


def _preparation(config: Config, registry: CollectorRegistry) -> Callable[[], Frames]:
    """Return what has to be done before the first event: create topics that are missing, find the bodies' frames."""
    frames = framing.frames(config.output, registry)

    def prepare() -> Frames:
        clients.create_topics(config)
        return frames()

    return prepare
