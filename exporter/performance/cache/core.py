"""What a cache does for each read and write: the tiers, and the loads that go on."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

from exporter.instrument import MetricsCollector
from exporter.instrument.library.functions import is_async
from exporter.performance.cache.connections import Connections
from exporter.performance.cache.distrust import Mark
from exporter.performance.cache.entries import Decode, Encode, Entry
from exporter.performance.cache.figures import CacheFigures
from exporter.performance.cache.flights import Flight, Flights, running_loop
from exporter.performance.cache.memory_tier import MemoryTier
from exporter.performance.cache.redis_tier import NOTHING, RedisTier
from exporter.performance.cache.steps import Ask, Load, Steps, adrive, drive

Loader: TypeAlias = Callable[[str], Any]
AsyncLoader: TypeAlias = Callable[[str], Any | Awaitable[Any]]


class Lifetimes(NamedTuple):
    """Seconds that a value and a negative answer are kept, unless a call has its own."""

    ttl: float
    negative_ttl: float


class CacheCore:
    """The tiers of one cache. `lock` guards memory, flights and counts."""

    def __init__(self, name: str, memory: MemoryTier, lifetimes: Lifetimes, collector: MetricsCollector) -> None:
        self.lock = Lock()
        self.memory = memory
        self.figures = CacheFigures(name, collector)
        self.lifetimes = lifetimes
        self.tasks = set[asyncio.Task[None]]()
        self.redis: RedisTier | None = None
        self.connections: Connections | None = None
        self._flights = Flights()
        self.show()

    def connect(self, connections: Connections, name: str, encode: Encode, decode: Decode) -> None:
        """Add Redis."""
        self.connections = connections
        self.redis = RedisTier(name, encode, decode, self._count_redis, connections.clock)

    def show(self) -> None:
        """Set the gauges."""
        self.figures.entries.set(len(self.memory))
        self.figures.capacity.set(self.memory.capacity)

    def from_memory(self, key: str) -> Entry | None:
        """Return the entry that memory has, and count the read; raise `TypeError` for a key that is no text."""
        if not isinstance(key, str):
            raise TypeError(f"the key of a cache is text, not {key!r}")
        with self.lock:
            entry = self.memory.get(key)
            self.figures.count("memory", "miss" if entry is None else entry.result)
        return entry

    def join(self, key: str) -> tuple[Flight, bool]:
        """Return the load of a key, and whether the caller has to do it."""
        with self.lock:
            return self._flights.join(key)

    def join_as_thread(self, key: str) -> tuple[Flight, bool]:
        """Do the same as `join` for a caller that blocks its thread."""
        flight, is_leader = self.join(key)
        if not is_leader and flight.loop is not None and flight.loop is running_loop():
            # The load needs the event loop that this call blocks: one that is not kept, then.
            flight, is_leader = Flight(key), True
            flight.is_valid = False
        return flight, is_leader

    def lead(self, flight: Flight, loader: AsyncLoader | None, ttl: float | None) -> Entry | None:
        """Load in this thread, for all waiters."""
        try:
            with self._flights.loading(flight.key):
                drive(self._steps(flight, loader, ttl), self.do)
        except Exception as error:
            self._leave(flight, error)
            raise
        finally:
            self._leave(flight, None)
        return flight.wait()

    def start(self, flight: Flight, loader: AsyncLoader | None, ttl: float | None) -> None:
        """Load in a task of its own: a waiter that is cancelled does not end it."""
        task = asyncio.create_task(self._alead(flight, loader, ttl), name=f"cache {flight.key}")
        self.tasks.add(task)
        # Also for a task that is cancelled before it has begun.
        task.add_done_callback(lambda done: self._leave(flight, None))
        task.add_done_callback(self.tasks.discard)

    async def _alead(self, flight: Flight, loader: AsyncLoader | None, ttl: float | None) -> None:
        """Load in this task, for all waiters."""
        try:
            with self._flights.loading(flight.key):
                await adrive(self._steps(flight, loader, ttl), self.ado)
        except Exception as error:
            self._leave(flight, error)

    def _steps(self, flight: Flight, loader: AsyncLoader | None, ttl: float | None) -> Steps[None]:
        """Ask Redis, then the loader, and keep the answer wherever it was not."""
        reading = (yield from self.redis.read(flight.key)) if self.redis else NOTHING
        if reading.entry is not None or loader is None:
            self._land(flight, reading.entry or Entry(None, 0.0, "nothing"))
            return
        begin = time.perf_counter()
        try:
            entry = self.entry((yield Load(loader, flight.key)), ttl, "loader")
        except Exception:
            self._count("loader", "error")
            raise
        self.figures.load.observe(time.perf_counter() - begin)
        self._count("loader", entry.result)
        self._land(flight, entry)
        # The waiters have their answer: a Redis that hangs does not delay them.
        if self.redis and reading.ticket and entry.ttl > 0:
            yield from self.redis.write(flight.key, entry, reading.ticket)

    def _land(self, flight: Flight, entry: Entry) -> None:
        """Keep an answer, unless it is of before an invalidation, and give it to all waiters."""
        with self.lock:
            if flight.is_valid:
                self.memory.put(flight.key, entry)
                self.figures.entries.set(len(self.memory))
            self._flights.leave(flight)
            self.figures.later_hits += entry.source == "redis"
        flight.end(entry)

    def _leave(self, flight: Flight, error: Exception | None) -> None:
        with self.lock:
            self._flights.leave(flight)
        if error is None:
            flight.end(None)
        else:
            flight.fail(error)

    def do(self, step: Ask | Load) -> Any:
        """Do a step in this thread."""
        if isinstance(step, Ask):
            assert self.connections is not None  # noqa: S101, the tier that asks has them
            return self.connections.do(step)
        if is_async(step.loader):
            raise TypeError("the loader is a coroutine function: use aget")
        answer = step.loader(step.key)
        if inspect.isawaitable(answer):
            if inspect.iscoroutine(answer):
                answer.close()
            raise TypeError("the loader returns an awaitable: use aget")
        return answer

    async def ado(self, step: Ask | Load) -> Any:
        """Do a step in the running event loop."""
        if isinstance(step, Ask):
            assert self.connections is not None  # noqa: S101, the tier that asks has them
            return await self.connections.ado(step)
        if is_async(step.loader):
            return await step.loader(step.key)
        answer = await asyncio.to_thread(step.loader, step.key)
        return await answer if inspect.isawaitable(answer) else answer

    def entry(self, value: Any, ttl: float | None, source: str) -> Entry:
        """Return an entry with its time."""
        usual = self.lifetimes.negative_ttl if value is None else self.lifetimes.ttl
        return Entry(value, usual if ttl is None or value is None else ttl, source)

    def replace(self, key: str, entry: Entry) -> Mark | None:
        """Set an entry in memory; return the mark under which Redis is not read until it has the entry, too."""
        with self.lock:
            mark = self.redis.distrust(key, max(entry.ttl, *self.lifetimes)) if self.redis else None
            self._flights.invalidate(key)
            self.memory.put(key, entry)
            self.figures.entries.set(len(self.memory))
        return mark

    def drop(self, keys: Sequence[str]) -> list[Mark]:
        """Drop keys from memory; return the marks under which Redis is not read until they are gone there."""
        with self.lock:
            marks = [self.redis.distrust(key, max(self.lifetimes)) for key in keys] if self.redis else []
            for key in keys:
                self._flights.invalidate(key)
                self.memory.drop(key)
            self.figures.entries.set(len(self.memory))
        return marks

    def drop_prefix(self, prefix: str) -> list[Mark]:
        """Drop keys that begin so from memory; return the mark under which Redis is not read until they are gone."""
        with self.lock:
            marks = [self.redis.distrust(prefix, max(self.lifetimes), is_prefix=True)] if self.redis else []
            self._flights.invalidate_prefix(prefix)
            self.memory.drop_prefix(prefix)
            self.figures.entries.set(len(self.memory))
        return marks

    def _count(self, tier: str, result: str) -> None:
        with self.lock:
            self.figures.count(tier, result)

    def _count_redis(self, result: str) -> None:
        self._count("redis", result)

    def landed(self, entry: Entry | None, loader: AsyncLoader | None) -> Entry | None:
        """Return what a waiter takes from the load of another caller; None if it has to ask again."""
        if entry is None or (entry.source == "nothing" and loader is not None):
            return None  # the load was given up, or had no loader
        with self.lock:
            self.figures.later_hits += 1
            self.figures.shared_loads += entry.source == "loader"
        return entry
