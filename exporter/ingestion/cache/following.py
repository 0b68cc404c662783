"""Applies events to the caches, and waits while Redis cannot be written: no event is skipped, none is a dead letter."""

from __future__ import annotations

import asyncio

from exporter.ingestion.cache.actions import Action, Write, action_of
from exporter.ingestion.cache.metrics import CacheMetrics
from exporter.ingestion.cache.redis_cache import Applied, CacheUnavailable, RedisCache
from exporter.ingestion.events import Event, topic_of
from exporter.ingestion.lanes import Abandoned
from exporter.ingestion.sending import logged
from exporter.runtime import logs
from exporter.runtime.clock import now_ms

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0

log = logs.logger("cache")


class CacheFollower:
    """Handler of events for a `MessageConsumer`.

    Beyond the events that wait it keeps nothing: they are redelivered after a crash, and after a stop while Redis is
    unavailable.
    """

    def __init__(self, cache: RedisCache, metrics: CacheMetrics) -> None:
        self._cache = cache
        self._metrics = metrics
        self._errors: dict[object, str] = {}  # by event that waits
        self._is_stopped = False

    @property
    def error(self) -> str | None:
        """Why an event waits for Redis, None when none does; a service with an error is not ready."""
        return next(iter(self._errors.values()), None)

    def stop(self) -> None:
        """Leave events that wait for Redis to the next service. From any thread."""
        self._is_stopped = True

    async def handle(self, event: Event) -> None:
        """Return when the caches follow an event; raise nothing that Redis causes. May be cancelled at any time.

        Raises `Abandoned` for an event that waits at a stop.
        """
        action = action_of(event)
        if action is None:
            return
        applied = await self._applied(action)
        self._metrics.count_event(topic_of(event), applied.outcome, now_ms() / 1000)
        if isinstance(action, Write) and applied.written:
            self._metrics.show_update(action.code, action.at_us / 1e6)
        log.info("caches follow", extra={**logged(event), **applied._asdict()})

    async def _applied(self, action: Action) -> Applied:
        pause, waiting = FIRST_PAUSE_SECONDS, object()
        try:
            while True:
                try:
                    return await self._cache.apply(action)
                except CacheUnavailable as error:
                    self._errors[waiting] = str(error)
                    self._metrics.waiting.set(len(self._errors))
                    log.warning("Redis unavailable, events wait", extra={"error": str(error)})
                if self._is_stopped:
                    raise Abandoned
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        finally:
            self._errors.pop(waiting, None)
            self._metrics.waiting.set(len(self._errors))
