"""Sweeps the histories that updates have left: one pass over the keys serves all updates that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic

from exporter.ingestion.cache.metrics import CacheMetrics
from exporter.ingestion.cache.redis_cache import CacheUnavailable, RedisCache
from exporter.runtime import logs

# Passes take a quarter of the time at most, however many updates come.
PAUSE_RATIO = 3.0
SHORTEST_PAUSE_SECONDS = 0.05
# What a service that has ended left is swept by another one.
IDLE_SECONDS = 5.0
LAST_SECONDS = 5.0
CANCEL_SECONDS = 0.5
# Keys that other programs write may have no time to live.
LIMIT_SECONDS = 300.0

log = logs.logger("cache")


class Sweeper:
    """Sweeper of one cache, in its event loop."""

    def __init__(self, cache: RedisCache, metrics: CacheMetrics) -> None:
        self._cache = cache
        self._metrics = metrics

    async def run(self) -> None:
        """Sweep whenever an update was written, and now and then for other services, until it is cancelled.

        The time to live of what other programs write is limited every `LIMIT_SECONDS`.
        """
        limit_due = monotonic()
        while True:
            self._cache.is_open.clear()
            begun = monotonic()
            await self._sweep()
            if begun >= limit_due and await self._limit():
                limit_due = begun + LIMIT_SECONDS
            await asyncio.sleep(max(SHORTEST_PAUSE_SECONDS, PAUSE_RATIO * (monotonic() - begun)))
            with suppress(TimeoutError):
                # Not wait_for, which before Python 3.12 swallows a cancellation at the moment of the event (gh-86296).
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._cache.is_open.wait()

    async def finish(self) -> None:
        """Sweep for the last time, if Redis has time for it: otherwise another service does."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._sweep(), LAST_SECONDS)

    async def _limit(self) -> bool:
        """Return whether the time to live of all keys is limited."""
        try:
            limited = await self._cache.limit()
        except CacheUnavailable as error:
            log.warning("the time to live of keys is not limited, retrying", extra={"error": str(error)})
            return False
        if limited:
            log.info("time to live limited", extra={"limited": limited})
        return True

    async def _sweep(self) -> None:
        try:
            dropped = await self._cache.sweep()
        except CacheUnavailable as error:
            log.warning("histories not dropped, retrying", extra={"error": str(error)})
            return
        self._metrics.sweeps.inc()
        if dropped:
            log.info("histories dropped", extra={"dropped": dropped})


async def end_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until all have ended: the driver of Redis may swallow a cancellation (wait_for, gh-86296)."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_SECONDS)
