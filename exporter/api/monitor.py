"""The sidecar of one feed inside an asyncio program: the `App` of the command `run`, in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial

from exporter.api.arguments import feed_key
from exporter.app import App
from exporter.config.layers import Problem
from exporter.config.loader import ConfigError
from exporter.config.schema import Limits
from exporter.kafka.arguments import configure
from exporter.model import FeedKey
from exporter.preflight import mistakes

JOIN_SECONDS = 10.0
# Longer than the loop takes to publish the backlog, leave the group and abandon calls that do not return.
STOP_SECONDS = 40.0
POLL_SECONDS = 0.02


class BatchPerformanceMonitor:
    """Monitor of one feed: reads its batches from Kafka, serves its metrics and publishes its events.

    - `summary_interval`: seconds, or text such as `"1m30s"`.
    - `redis_url`: the Redis in which replicas add up their symbols; none by default. `redis_username` and
      `redis_password` are used literally; in the URL they would have to be percent-encoded.
    - `listen_address`: the address of HTTP; by default a free port of the loopback interface, see `port`.
    - `instance`: the name of this monitor, by default that of the host; unique among monitors of the same feed.
    - `config`: other settings, by the keys of the YAML file; overrides the arguments.

    The consumer group is the feed's own, `marketdata-exporter-korea:upbit:ticker`; a new group begins with records
    written after its start (`input.start`). Any number of monitors work in one process: none of them reads the
    environment or handles signals. Raises ConfigError when an argument is wrong.
    """

    def __init__(
        self,
        region: str,
        exchange: str,
        request_type: str,
        summary_interval: float | str = 60,
        redis_url: str | None = None,
        *,
        redis_username: str | None = None,
        redis_password: str | None = None,
        bootstrap_servers: str = "localhost:9092",
        listen_address: str = "127.0.0.1:0",
        instance: str | None = None,
        config: Mapping[str, object] | None = None,
    ) -> None:
        self.feed = _feed(region, exchange, request_type)
        arguments: dict[str, object] = {
            "instance": instance,
            "kafka.bootstrap_servers": bootstrap_servers,
            "input.group": f"marketdata-exporter-{self.feed}",
            "feeds": {"include": [str(self.feed)], "expected": [str(self.feed)]},
            "output.summary_interval": summary_interval,
            "redis.url": redis_url,
            "redis.username": redis_username,
            "redis.password": redis_password,
            "web.listen_address": listen_address,
        }
        self._load = partial(configure, arguments, config, mistakes)
        self._config = self._load()
        self._app: App | None = None
        self._ended: Future[bool] = Future()

    @property
    def port(self) -> int:
        """The port on which HTTP is served, `/metrics` among the rest; 0 before the start."""
        return 0 if self._app is None else self._app.port

    async def start(self) -> None:
        """Start, and return once batches are read: those written from then on are counted.

        If no broker answers, or there is no topic to read, it returns after ten seconds, and the monitor keeps trying;
        `/-/ready` gives the reason. Raises the error that prevented the start, such as OSError for an address
        in use and KafkaException for a property that librdkafka refuses; RuntimeError when it has started already.
        """
        if self._app is not None and not self._ended.done():
            raise RuntimeError(f"the monitor of {self.feed} has started already")
        self._app, self._ended = App(self._config, load=self._load), Future()
        threading.Thread(target=_run, args=(self._app, self._ended), name=f"monitor {self.feed}", daemon=True).start()
        deadline = time.monotonic() + JOIN_SECONDS
        while not (self._app.status.is_reading() or self._ended.done()) and time.monotonic() < deadline:
            await asyncio.sleep(POLL_SECONDS)
        if self._ended.done():
            self._ended.result()

    async def wait(self) -> None:
        """Return when the monitor has ended; raise the error that ended it, unless that was `stop`."""
        if self._app is not None:
            await asyncio.wrap_future(self._ended)

    async def stop(self) -> None:
        """Publish the last summary and the backlog, leave the group, and end the thread.

        What cannot be published is left to the next start. Raises the error that ended the monitor before, and
        TimeoutError when it does not end.
        """
        if self._app is not None:
            self._app.stop()
            async with asyncio.timeout(STOP_SECONDS):
                await self.wait()


def _feed(region: str, exchange: str, request_type: str) -> FeedKey:
    try:
        return feed_key(region, exchange, request_type, Limits())
    except ValueError as error:
        raise ConfigError((Problem("feeds.include", str(error)),)) from None


def _run(app: App, ended: Future[bool]) -> None:
    ended.set_running_or_notify_cancel()  # a waiting call may be cancelled, the monitor is not
    try:
        ended.set_result(app.run())
    except BaseException as error:
        ended.set_exception(error)
