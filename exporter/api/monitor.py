"""The sidecar of one feed inside an asyncio program: the same `App` as in a process of its own, in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future

from exporter.api.arguments import configure, feed_key
from exporter.app import App
from exporter.config.layers import Problem
from exporter.config.loader import ConfigError
from exporter.config.schema import Limits
from exporter.model import FeedKey
from exporter.preflight import mistakes

JOIN_SECONDS = 10.0
# More than the loop takes to publish what waits, to leave the group and to give up on what does not end.
STOP_SECONDS = 40.0
LOOK_SECONDS = 0.02


class BatchPerformanceMonitor:
    """Reads the batches of one feed from Kafka, serves its metrics and publishes its events, until it is stopped.

    - `summary_interval`: seconds, or text such as `"1m30s"`.
    - `redis_url`: where replicas add up their symbols; by default nowhere. `redis_username` and `redis_password` are
      taken as they stand; in the URL they would have to be percent-encoded.
    - `listen_address`: where HTTP is served; by default on a free port of this machine only, see `port`.
    - `instance`: the name of this monitor, by default that of the host. Two that monitor the same feed need two names.
    - `config`: anything else, by the keys of the YAML file; it wins over the arguments.

    The consumer group is the feed's own, `marketdata-exporter-korea:upbit:ticker`; a new one begins with what is
    written from then on (`input.start`). Any number of monitors work in one process: none of them reads the
    environment or touches signals. Raises ConfigError when an argument is wrong.
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
        self._config = configure(arguments, config, mistakes)
        self._app: App | None = None
        self._ended: Future[bool] = Future()

    @property
    def port(self) -> int:
        """The port on which HTTP is served, `/metrics` among the rest; 0 before the start."""
        return 0 if self._app is None else self._app.port

    async def start(self) -> None:
        """Return once batches are read: those written from now on are counted.

        While no broker answers, or there is no topic to read, it returns after ten seconds all the same, and the
        monitor goes on trying; `/-/ready` says why. Raises what kept it from starting, such as OSError for an address
        in use and KafkaException for a property that librdkafka refuses; RuntimeError when it has started already.
        """
        if self._app is not None and not self._ended.done():
            raise RuntimeError(f"the monitor of {self.feed} has started already")
        self._app, self._ended = App(self._config), Future()
        threading.Thread(target=_run, args=(self._app, self._ended), name=f"monitor {self.feed}", daemon=True).start()
        give_up = time.monotonic() + JOIN_SECONDS
        while not (self._app.status.is_reading() or self._ended.done()) and time.monotonic() < give_up:
            await asyncio.sleep(LOOK_SECONDS)
        if self._ended.done():
            self._ended.result()

    async def wait(self) -> None:
        """Return when the monitor has ended; raise what ended it, if that was not `stop`."""
        if self._app is not None:
            await asyncio.wrap_future(self._ended)

    async def stop(self) -> None:
        """Publish the last summary and what else waits, leave the group, and end the thread.

        What cannot be published now is left to the next start. Raises what had ended the monitor before, and
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
    ended.set_running_or_notify_cancel()  # who waits may be cancelled, the monitor is not
    try:
        ended.set_result(app.run())
    except BaseException as error:
        ended.set_exception(error)
