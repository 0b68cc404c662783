"""Streams of server-sent events: made once a second in a worker thread while there are clients, and shared by all.

A client gets the whole state first, then each step. Steps are kept for a few seconds, so that a client that reads in
bursts, or whose connection breaks, misses none; one that falls further behind is a slow reader and loses its stream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from exporter.model import EventType
from exporter.page.watch import Tick, of_types
from exporter.web.interface import Watched
from exporter.web.responses import error_response

PATH = "/api/v1/stream"
# With very many feeds a step takes long; the worker then pauses for so many times as long.
PAUSE_RATIO = 9
# Steps that are kept. So many more are made after the last client has gone, which may come back.
TICKS_KEPT = 15
RETRY = b"retry: 2000\n\n"
CONTENT_TYPE = "text/event-stream; charset=utf-8"


class SlowReader(Exception):
    """A client has not read for longer than steps are kept."""


class EventStream(NamedTuple):
    """A response without an end: its messages, and its headers."""

    messages: AsyncGenerator[bytes]
    headers: Mapping[str, str]
    status: int = 200


class _Run:
    """One run of the worker: the steps made last, and an event that is set with the next one or the end."""

    def __init__(self, watch: Watched) -> None:
        self.watch = watch
        self.ticks: deque[Tick] = deque(maxlen=TICKS_KEPT)
        self.has_ended = False
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """Wake all that wait."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def has_begun(self) -> bool:
        """Wait for the first step; return false if there was none."""
        while not self.ticks and not self.has_ended:
            await self._changed.wait()
        return bool(self.ticks)

    def since(self, number: int) -> list[Tick]:
        """Return the steps after the given one; raise SlowReader when the first of them is not kept any more."""
        found = [tick for tick in self.ticks if tick.number > number]
        if found and found[0].number > number + 1:
            raise SlowReader
        return found

    async def next(self, number: int) -> list[Tick]:
        """Wait for steps after the given one, and return them; none at the end of the run."""
        while not (found := self.since(number)) and not self.has_ended:
            await self._changed.wait()
        return found


class Broadcast:
    """The messages of all streams; all methods belong to the thread of the event loop.

    `watch` returns the state as streams show it, which is used in the worker's thread. Nothing is done without clients.
    """

    def __init__(self, watch: Callable[[], Watched], tick_seconds: float) -> None:
        self._watch = watch
        self._tick_seconds = tick_seconds
        self._linger_seconds = TICKS_KEPT * tick_seconds
        self._worker = ThreadPoolExecutor(1, "web-stream")
        self._listeners: dict[object, frozenset[EventType]] = {}
        self._left_at: dict[EventType, float] = {}
        self._run: _Run | None = None
        self._task: asyncio.Task[None] | None = None
        self._deserted_at = 0.0

    def close(self) -> None:
        """End all streams."""
        if self._task is not None:
            self._task.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def messages(self, types: frozenset[EventType], last_id: str) -> AsyncGenerator[bytes]:
        """Yield messages, with published events of some types, from those after `last_id` on where they are kept.

        Ends when the state cannot be read; raises SlowReader when they are not taken in time.
        """
        listener = object()
        self._listeners[listener] = types
        try:
            run = self._started()
            yield RETRY
            if not await run.has_begun():
                return
            number, snapshot = await asyncio.get_running_loop().run_in_executor(self._worker, run.watch.snapshot)
            start = run.watch.start
            for tick in _missed(run, start, last_id, number):
                for events in of_types(tick, types):
                    yield _message("published", events)
            yield _message("snapshot", snapshot, f"{start}.{number}")
            while ticks := await run.next(number):
                for tick in ticks:
                    for message in _messages(tick, types, start):
                        yield message
                    number = tick.number
        finally:
            del self._listeners[listener]
            self._deserted_at = asyncio.get_running_loop().time()
            self._left_at |= dict.fromkeys(types, self._deserted_at)

    def _types(self, now: float) -> frozenset[EventType]:
        """Return the types of events that clients have asked for, those included that may come back."""
        missed = {each for each, left_at in self._left_at.items() if now < left_at + self._linger_seconds}
        return frozenset(missed).union(*self._listeners.values())

    def _started(self) -> _Run:
        if self._run is None:
            self._run = _Run(self._watch())
            self._task = asyncio.create_task(self._turn(self._run))
        return self._run

    async def _turn(self, run: _Run) -> None:
        """Make steps until there has been no client for a while."""
        loop = asyncio.get_running_loop()
        seconds = self._tick_seconds
        try:
            while self._listeners or loop.time() < self._deserted_at + self._linger_seconds:
                began = loop.time()
                types = self._types(began)
                run.ticks.append(await loop.run_in_executor(self._worker, run.watch.tick, types, seconds))
                run.notify()
                took = loop.time() - began
                seconds = round(max(self._tick_seconds, (1 + PAUSE_RATIO) * took), 2)
                await asyncio.sleep(seconds - took)
        except Exception as error:
            error_response(PATH, error)  # for the log
        finally:
            run.has_ended, self._run = True, None
            run.notify()
            run.watch.close()


def _missed(run: _Run, start: str, last_id: str, number: int) -> Iterator[Tick]:
    """Yield the kept steps from after the last one that a client got to that of its snapshot."""
    last_start, _, last = last_id.rpartition(".")
    if last_start == start and last.isascii() and last.isdecimal():
        yield from (tick for tick in list(run.ticks) if int(last[:18]) < tick.number <= number)


def _messages(tick: Tick, types: frozenset[EventType], start: str) -> Iterator[bytes]:
    yield from (_message("published", events) for events in of_types(tick, types))
    yield _message("update", tick.update, f"{start}.{tick.number}")


def _message(name: str, data: bytes, identity: str = "") -> bytes:
    line = f"id: {identity}\n" if identity else ""
    return b"%bevent: %b\ndata: %b\n\n" % (line.encode(), name.encode(), data)
