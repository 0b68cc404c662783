"""One load for many waiters: threads and tasks of any event loop wait for the same one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar

from exporter.performance.cache.entries import Entry


class Flight:
    """A load that goes on. Its future has the entry, or what the loader raised; None if the load was given up."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.is_valid = True  # false when there was an invalidation since it began
        self.loop = running_loop()
        self.future: Future[Entry | None] = Future()
        # A waiter that is cancelled cancels what it waits for: not this, then.
        self.future.set_running_or_notify_cancel()

    def wait(self) -> Entry | None:
        """Return the entry; raise what the loader raised."""
        return self.future.result()

    async def await_entry(self) -> Entry | None:
        """Return the entry; raise what the loader raised."""
        return await asyncio.wrap_future(self.future)

    def end(self, entry: Entry | None) -> None:
        """Give the entry to all waiters, if they have none yet."""
        if not self.future.done():
            self.future.set_result(entry)

    def fail(self, error: Exception) -> None:
        """Raise an exception in all waiters, if they have no entry yet."""
        if not self.future.done():
            self.future.set_exception(error)


class Flights:
    """The loads of one cache. `lock` of the cache is held during all calls but `loading`."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}
        # What is loaded by this task or thread, so that a loader which asks for its own key does not wait for itself.
        self._loading: ContextVar[frozenset[str]] = ContextVar("loading", default=frozenset())

    def join(self, key: str) -> tuple[Flight, bool]:
        """Return the flight of a key, and whether the caller has to do it; raise `RuntimeError` within this load."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(key)
            return flight, True
        if key in self._loading.get():
            raise RuntimeError(f"the loader of {key!r} asks for the same key")
        return flight, False

    def leave(self, flight: Flight) -> None:
        """Forget a flight that is over."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def invalidate(self, key: str) -> None:
        """Let a load go on for those that wait already; its answer is not kept."""
        flight = self._flights.pop(key, None)
        if flight is not None:
            flight.is_valid = False

    def invalidate_prefix(self, prefix: str) -> None:
        """Do so for all keys that begin so."""
        for key in [each for each in self._flights if each.startswith(prefix)]:
            self.invalidate(key)

    @contextmanager
    def loading(self, key: str) -> Iterator[None]:
        """Mark the block as the load of a key."""
        token = self._loading.set(self._loading.get() | {key})
        try:
            yield
        finally:
            self._loading.reset(token)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
