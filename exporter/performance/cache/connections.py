"""Clients of Redis for threads and for event loops, with short time-outs and a circuit breaker each way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from exporter.instrument import MetricsCollector
from exporter.performance.breaker import CircuitBreaker
from exporter.performance.cache.steps import Ask

if TYPE_CHECKING:
    import redis
    import redis.asyncio

# Of an event loop: when Redis hangs, as many requests wait for it, and the others for the breaker to open.
CONNECTIONS = 16
FAILURES = 5
OPEN_SECONDS = 1.0


class _LoopClient(NamedTuple):
    """The client of one event loop, and its turnstile."""

    client: redis.asyncio.Redis
    places: asyncio.Semaphore


class Connections:
    """Does commands; raises what the client raises, or `CircuitOpenError`. No command takes much over `timeout`."""

    def __init__(
        self, url: str, timeout: float, name: str, collector: MetricsCollector, clock: Callable[[], float]
    ) -> None:
        self.clock = clock
        self._url = url
        self._timeout = timeout
        self._client = self._new_client()
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

    def _new_client(self) -> redis.Redis:
        """Return the client of all threads, which connects at its first command; raise `ValueError` for a wrong URL."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return redis.Redis.from_url(self._url, retry=Retry(NoBackoff(), 0), **self._timeouts())

    def _of_loop(self) -> _LoopClient:
        loop = asyncio.get_running_loop()
        found = self._clients.get(loop)
        if found is None:
            import redis.asyncio
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            client = redis.asyncio.Redis.from_url(self._url, retry=Retry(NoBackoff(), 0), **self._timeouts())
            found = self._clients[loop] = _LoopClient(client, asyncio.Semaphore(CONNECTIONS))
        return found

    def _timeouts(self) -> dict[str, Any]:
        return {"socket_timeout": self._timeout, "socket_connect_timeout": self._timeout}
