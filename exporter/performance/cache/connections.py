"""Clients of Redis for threads and for event loops, with short time-outs and a circuit breaker each way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from exporter.instrument import MetricsCollector
from exporter.performance.breaker import CircuitBreaker
from exporter.performance.cache.steps import Ask

if TYPE_CHECKING:
    import redis
    import redis.asyncio

    from exporter.config.schema import RedisConfig

# Of an event loop: when Redis hangs, as many requests wait for it, and the others for the breaker to open.
CONNECTIONS = 16
FAILURES = 5
OPEN_SECONDS = 1.0
# What of the section `redis` is about connections.
_SETTINGS = {"url", "username", "password", "tls", "sentinel"}


class _LoopClient(NamedTuple):
    """The client of one event loop, and its turnstile."""

    client: redis.asyncio.Redis
    places: asyncio.Semaphore


class Connections:
    """Does commands; raises what the client raises, or `CircuitOpenError`. No command takes much over `timeout`."""

    def __init__(
        self, config: RedisConfig, timeout: float, name: str, collector: MetricsCollector, clock: Callable[[], float]
    ) -> None:
        from exporter.redis.connecting import open_client

        self.clock = clock
        self._config = config
        self._timeout = timeout
        self._client = open_client(config, seconds=timeout)  # it connects at its first command
        self._clients = WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopClient]()
        # Writes have their own: a replica or a full server answers reads.
        self._breakers = {
            is_write: CircuitBreaker(FAILURES, OPEN_SECONDS, name=f"{name}:{way}", collector=collector, clock=clock)
            for is_write, way in ((False, "redis_read"), (True, "redis_write"))
        }

    def do(self, ask: Ask) -> Any:
        """Do a command in this thread."""
        with self._breakers[ask.is_write]:
            return ask.call(self._client)

    async def ado(self, ask: Ask) -> Any:
        """Do a command in the running event loop."""
        client, places = self._of_loop()
        # The breaker comes second: requests that waited for a place are refused once it is open.
        async with places:
            with self._breakers[ask.is_write]:
                async with asyncio.timeout(2 * self._timeout):
                    return await ask.call(client)

    def close(self) -> None:
        """Close the connections of threads."""
        self._client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, and of threads."""
        self.close()
        of_loop = self._clients.pop(asyncio.get_running_loop(), None)
        if of_loop is not None:
            await of_loop.client.aclose()

    def _of_loop(self) -> _LoopClient:
        loop = asyncio.get_running_loop()
        found = self._clients.get(loop)
        if found is None:
            from exporter.redis.connecting_async import open_async_client

            limits = {"socket_timeout": self._timeout, "socket_connect_timeout": self._timeout}
            client = open_async_client(self._config, limits)
            found = self._clients[loop] = _LoopClient(client, asyncio.Semaphore(CONNECTIONS))
        return found


def redis_config(url: str | None, settings: Mapping[str, object]) -> RedisConfig:
    """Return where Redis is, by a URL and the keys of the section `redis`; raise `ValueError` for a mistake."""
    from exporter.config.loader import ConfigError
    from exporter.config.redis_place import place
    from exporter.kafka.arguments import configure
    from exporter.redis.connecting import checked_options

    unknown = sorted(settings.keys() - _SETTINGS)
    if unknown:
        raise ValueError(f"redis: no key {unknown[0]!r}, expected {', '.join(sorted(_SETTINGS))}")
    try:
        config = configure({"redis.url": url}, {f"redis.{name}": value for name, value in settings.items()}).redis
    except ConfigError as error:
        texts = [f"{problem.path}: {problem.message}" for problem in error.problems]
        raise ValueError("; ".join(texts)) from None
    if config.url is None:
        raise ValueError("redis: got no url")
    if place(config.url, config.sentinel, is_cluster=config.cluster).kind == "cluster":
        raise ValueError("a Redis Cluster cannot hold keys that one script changes together")
    checked_options(config)
    return config
