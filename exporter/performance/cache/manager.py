"""The cache of a program: memory, Redis, loader."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import orjson

from exporter.instrument import MetricsCollector, get_metrics_collector
from exporter.performance.cache.connections import Connections, redis_config
from exporter.performance.cache.core import AsyncLoader, CacheCore, Lifetimes, Loader
from exporter.performance.cache.entries import Decode, Encode
from exporter.performance.cache.figures import share
from exporter.performance.cache.memory_tier import MemoryTier
from exporter.performance.cache.steps import adrive, drive
from exporter.performance.cache.tuning import Window, advise

CLOSE_SECONDS = 5.0


class CacheManager:
    """Cache for threads and tasks: entries in memory before those in Redis before a loader.

    Keys are text. A loader gets the key and returns the value, or None for a negative answer, which is kept for
    `negative_ttl` seconds instead of `ttl`. All that ask for a key at once wait for one load, whichever thread or
    event loop they are in; what it raises is raised in each, and is not kept. Values are shared: do not change them.

    Redis holds what `encode` makes of a value, JSON by default; a value that `decode` does not give back
    stays in memory. Caches of one `name` share it, in all processes. Each command has `redis_timeout` seconds, and
    after five failures in a row Redis is left alone for a second: readers get no exception and no wrong value for it.
    It is a server or the master that Sentinels name, by `redis_url` or by `redis`: keys of the section `redis` of the
    sidecar's configuration, of those `url`, `username`, `password`, `tls` and `sentinel`. Raises `ValueError` for what
    cannot be one.
    """

    def __init__(
        self,
        name: str = "cache",
        *,
        capacity: int = 10_000,
        max_capacity: int | None = None,
        ttl: float = 300.0,
        negative_ttl: float = 30.0,
        loader: AsyncLoader | None = None,
        redis_url: str | None = None,
        redis: Mapping[str, object] | None = None,
        redis_timeout: float = 0.25,
        encode: Encode = orjson.dumps,
        decode: Decode = orjson.loads,
        collector: MetricsCollector | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _check(name, loader, ttl=ttl, negative_ttl=negative_ttl, redis_timeout=redis_timeout)
        made = collector or get_metrics_collector()
        self.name = name
        self._loader = loader
        self._tuned = Window(0, 0, 0)
        memory = MemoryTier(capacity, 10 * capacity if max_capacity is None else max_capacity, clock)
        self._core = CacheCore(name, memory, Lifetimes(ttl, negative_ttl), made)
        if redis_url is not None or redis:
            config = redis_config(redis_url, redis or {})
            self._core.connect(Connections(config, redis_timeout, name, made, clock), name, encode, decode)

    # Reading.

    def get(self, key: str, loader: Loader | None = None, *, ttl: float | None = None) -> Any:
        """Return the value of a key, None for a negative answer or where nothing loads it; raise what a loader raises.

        In an event loop it blocks: `aget` is for there. `ttl` is that of this value, in seconds.
        """
        loader = loader or self._loader
        entry = self._core.from_memory(key)
        while entry is None:
            flight, is_leader = self._core.join_as_thread(key)
            entry = self._core.lead(flight, loader, ttl) if is_leader else self._core.landed(flight.wait(), loader)
        return entry.value

    async def aget(self, key: str, loader: AsyncLoader | None = None, *, ttl: float | None = None) -> Any:
        """Do the same as `get`; a loader that is no coroutine function is called in a thread.

        A caller that is cancelled does not end the load for the others.
        """
        loader = loader or self._loader
        entry = self._core.from_memory(key)
        while entry is None:
            flight, is_leader = self._core.join(key)
            if is_leader:
                self._core.start(flight, loader, ttl)
            entry = await flight.await_entry()
            if is_leader and entry is None:
                raise asyncio.CancelledError  # the event loop ends
            entry = entry if is_leader else self._core.landed(entry, loader)
        return entry.value

    # Writing.

    def set(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Set a value; a load that is going on does not overwrite it."""
        entry = self._core.entry(value, ttl, "set")
        mark = self._core.replace(key, entry)
        if mark and self._core.redis:
            drive(self._core.redis.put(key, entry, mark), self._core.do)

    async def aset(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Do the same as `set`."""
        entry = self._core.entry(value, ttl, "set")
        mark = self._core.replace(key, entry)
        if mark and self._core.redis:
            await adrive(self._core.redis.put(key, entry, mark), self._core.ado)

    def invalidate(self, *keys: str) -> None:
        """Drop keys from memory and Redis; loads that began before do not bring them back.

        Other processes have them in memory for up to their `ttl`. Where Redis does not answer, it is not read for these
        keys until the deletion has been done, or all that it may have has expired.
        """
        marks = self._core.drop(keys)
        if self._core.redis:
            drive(self._core.redis.invalidate(marks), self._core.do)

    async def ainvalidate(self, *keys: str) -> None:
        """Do the same as `invalidate`."""
        marks = self._core.drop(keys)
        if self._core.redis:
            await adrive(self._core.redis.invalidate(marks), self._core.ado)

    def invalidate_prefix(self, prefix: str) -> None:
        """Drop all keys that begin so, as `invalidate` does; Redis is searched for them, which takes its time."""
        marks = self._core.drop_prefix(prefix)
        if self._core.redis:
            drive(self._core.redis.invalidate(marks), self._core.do)

    async def ainvalidate_prefix(self, prefix: str) -> None:
        """Do the same as `invalidate_prefix`."""
        marks = self._core.drop_prefix(prefix)
        if self._core.redis:
            await adrive(self._core.redis.invalidate(marks), self._core.ado)

    def invalidate_all(self) -> None:
        """Drop all keys, as `invalidate_prefix` does."""
        self.invalidate_prefix("")

    async def ainvalidate_all(self) -> None:
        """Do the same as `invalidate_all`."""
        await self.ainvalidate_prefix("")

    # Memory and figures.

    def clear_memory(self) -> int:
        """Drop all entries in memory, not those in Redis; return their number."""
        with self._core.lock:
            number = len(self._core.memory)
            self._core.memory.drop_prefix("")
            self._core.memory.drop_expired()
            self._core.show()
        return number

    def clear_expired(self) -> int:
        """Drop entries in memory whose time is over; return their number."""
        with self._core.lock:
            number = self._core.memory.drop_expired()
            self._core.show()
        return number

    def shrink(self) -> int:
        """Drop the half of the entries in memory that was not used for longest; return their number."""
        with self._core.lock:
            number = self._core.memory.halve()
            self._core.show()
        return number

    def get_cache_statistics(self) -> dict[str, Any]:
        """Return counts since the start, and by tier.

        `hits` are reads that began no load; those of them that waited for the load of another read are `shared_loads`.
        """
        tiers = ["memory", "loader"] if self._core.redis is None else ["memory", "redis", "loader"]
        with self._core.lock:
            figures, memory = self._core.figures, self._core.memory
            return {
                "name": self.name,
                "entries": len(memory),
                "capacity": memory.capacity,
                "max_capacity": memory.max_capacity,
                "evictions": memory.evictions,
                "requests": figures.requests,
                "hits": figures.hits,
                "shared_loads": figures.shared_loads,
                "hit_rate": share(figures.hits, figures.requests),
                "tiers": {tier: figures.tier(tier) for tier in tiers},
            }

    def optimize_cache(self) -> dict[str, Any]:
        """Raise the capacity if requests since the last call show that this helps; return what was done and why.

        The evidence are requests for keys that were evicted lately: with twice the capacity they would have been hits.
        """
        with self._core.lock:
            figures, memory = self._core.figures, self._core.memory
            now = Window(figures.requests, figures.hits, memory.near_misses)
            window, self._tuned, before = now.since(self._tuned), now, memory.capacity
            advice = advise(window, before, memory.max_capacity)
            memory.resize(advice.capacity)
            self._core.show()
        return {
            "capacity": memory.capacity,
            "previous_capacity": before,
            "requests": window.requests,
            "hit_rate": share(window.hits, window.requests),
            "text": advice.text,
        }

    def close(self) -> None:
        """Close the connections of threads to Redis."""
        if self._core.connections:
            self._core.connections.close()

    async def aclose(self) -> None:
        """Wait up to 5 s for loads of this event loop, and close its connections and those of threads."""
        loop = asyncio.get_running_loop()
        if tasks := [each for each in self._core.tasks if each.get_loop() is loop]:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
        if self._core.connections:
            await self._core.connections.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


def _check(name: object, loader: object, **seconds: float) -> None:
    if not isinstance(name, str):
        raise TypeError(f"the name of a cache is text, not {name!r}")
    if loader is not None and not callable(loader):
        raise TypeError(f"loader is a function of the key, not {loader!r}")
    for argument, value in seconds.items():
        if not value >= 0 or (argument == "redis_timeout" and not value > 0):
            raise ValueError(f"{argument} is a number of seconds, not {value!r}")
