"""A cache service: connects consumer, caches and HTTP server, starts them and stops them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import cast

from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector

from exporter.config.addresses import host_and_port
from exporter.config.schema import Config
from exporter.ingestion.cache.actions import Lifetimes
from exporter.ingestion.cache.following import CacheFollower
from exporter.ingestion.cache.metrics import TOPICS, CacheMetrics
from exporter.ingestion.cache.redis_cache import CacheUnavailable, RedisCache
from exporter.ingestion.cache.sweeping import Sweeper, end_tasks
from exporter.ingestion.consumer import MessageConsumer
from exporter.ingestion.topics import create_topics_of
from exporter.kafka.connection_errors import error_text
from exporter.kafka.session import KafkaSession
from exporter.metrics.process import OwnProcess
from exporter.model import Status
from exporter.runtime import logs
from exporter.runtime.clock import now_ms
from exporter.runtime.threads import Guard, Start, ThreadDied
from exporter.runtime.version import __version__
from exporter.tools.cache.families import ConsumerCollector
from exporter.tools.cache.queries import CacheQueries
from exporter.tools.cache.state import PartitionState, ServiceState, text_lines
from exporter.web.interface import Queries, WebMetrics
from exporter.web.responses import Response
from exporter.web.server import WebServer
from exporter.wiring.web import access, make_web_file

PING_SECONDS = 2.0
# Between two attempts to create topics.
CREATE_SECONDS = 5.0

log = logs.logger("cache")


class CacheService:
    """One cache service, see `exporter.tools.process.Service`. `run` blocks its thread; `stop` is for any thread."""

    def __init__(
        self, config: Config, load: Callable[[], Config] | None = None, *, create_topics: bool = False
    ) -> None:
        self._config = config
        self._creates_topics = create_topics
        self.kafka = KafkaSession(config, load)
        self._guard = Guard(self._end)
        self.start_thread: Start = self._guard.start
        registry = CollectorRegistry()
        self.port = 0
        self._metrics = CacheMetrics(registry, config.cache.currencies)
        self.cache = make_cache(config, self._metrics)
        self._follower = CacheFollower(self.cache, self._metrics)
        self._sweeper = Sweeper(self.cache, self._metrics)
        self._consumer = MessageConsumer(TOPICS, config.cache.group, prefix=config.ingestion.prefix, config=self.kafka)
        self._ping_error: str | None = "not asked yet"
        self._turned_at = time.monotonic()
        self._failure: BaseException | None = None
        registry.register(ConsumerCollector(self._consumer.get_statistics, config.ingestion.prefix, __version__))
        OwnProcess(registry=registry)
        GCCollector(registry=registry)
        self._web_file = make_web_file(config, registry)
        queries = CacheQueries(config, registry, self.healthy, self.ready)
        host, port = host_and_port(config.web.listen_address)
        self._web = WebServer(
            # No other queries are made of a server with pages of its own.
            cast(Queries, queries),
            host,
            port,
            config.web.telemetry_path,
            metrics=WebMetrics(registry),
            access=access(config),
            web_file=self._web_file,
            start_thread=self.start_thread,
            pages={"/": self._page},
        )

    def run(self, started: threading.Event | None = None) -> bool:
        """See Service. Raises `OSError` when HTTP cannot be served, `KafkaException` for an error that is fatal."""
        try:
            self.port = self._web.start()
            log.info("cache service started, serving HTTP", extra={"port": self.port, "version": __version__})
            if started is not None:
                started.set()
            asyncio.run(self._follow())
            if self._guard.death:
                raise ThreadDied(self._guard.death)
            return True
        finally:
            self._web.stop()

    def stop(self) -> None:
        """End `run` soon: finish the events that are being handled, and leave the group."""
        self._follower.stop()
        self._consumer.stop()

    def reload(self) -> None:
        """Do nothing: keys are read at the start; `web.config_file` and logins for Kafka are followed."""
        log.warning("a cache service does not reload its configuration, restart it")

    def stuck_seconds(self) -> float:
        """Return how long the event loop or the thread of the consumer has not turned."""
        return max(time.monotonic() - self._turned_at, self._consumer.get_statistics().idle_seconds)

    def healthy(self) -> Status:
        """Return whether both loops turn."""
        return self._state().healthy()

    def ready(self) -> Status:
        """Return whether the caches can follow events."""
        return self._state().ready(() if self._web_file is None else self._web_file.warnings)

    async def _follow(self) -> None:
        """Follow events until `stop`; raise what ended it."""
        runs = [self._sweeper.run(), self._look_after(), *([self._create_topics()] if self._creates_topics else [])]
        tasks = [asyncio.create_task(run) for run in runs]
        for task in tasks:
            task.add_done_callback(self._on_end)
        try:
            await self._consumer.consume_messages(self._follower.handle)
            if self._failure is not None:
                raise self._failure
        finally:
            await end_tasks(tasks)
            if self._redis_error is None:
                await self._sweeper.finish()
            await self.cache.close()

    async def _create_topics(self) -> None:
        """Create topics that are missing; the consumer waits for them."""
        while True:
            try:
                await create_topics_of(self.kafka.login.present(self._config), self._config.ingestion.prefix)
                return
            except KafkaException as error:
                log.warning("topics not created, retrying", extra={"error": self.kafka.explained(error_text(error))})
            await asyncio.sleep(CREATE_SECONDS)

    async def _look_after(self) -> None:
        """Ping Redis, and show that the event loop turns."""
        due = 0.0
        while True:
            self._turned_at = time.monotonic()
            if self._turned_at >= due:
                due = self._turned_at + PING_SECONDS
                await self._ping()
            await asyncio.sleep(1.0)

    async def _ping(self) -> None:
        try:
            await self.cache.ping()
            self._ping_error = None
        except CacheUnavailable as error:
            self._ping_error = str(error)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self._consumer.stop()

    def _end(self, why: str) -> None:
        log.critical("the cache service stops because of a failure", extra={"reason": why})
        self.stop()

    def _state(self) -> ServiceState:
        found = self._consumer.get_statistics()
        partitions = tuple(PartitionState(str(each.partition), each.lag, each.queued) for each in found.partitions)
        return ServiceState(found.is_member, partitions, self.stuck_seconds(), self._redis_error)

    @property
    def _redis_error(self) -> str | None:
        return self._follower.error or self._ping_error

    def _page(self) -> Response:
        found = text_lines(self._state(), self._metrics.counts(), self._metrics.updates(), now_ms() / 1000)
        return Response([f"{line}\n".encode() for line in found])


def make_cache(config: Config, metrics: CacheMetrics) -> RedisCache:
    """Return the caches in the Redis of the section `redis`; keys of sidecars in it are protected."""
    ttl, redis = config.cache.ttl, config.redis
    lifetimes = Lifetimes(ttl.rate, ttl.history, ttl.stats, ttl.analysis, ttl.seen)
    return RedisCache(redis, lifetimes, [f"{redis.prefix}:"], metrics)
