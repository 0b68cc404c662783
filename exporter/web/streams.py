"""Streams of server-sent events: made once a second in a worker thread while there are clients, and shared by all.

A client gets the whole state first, then each step. Steps are kept for a few seconds, so that a client that reads in
bursts, or whose connection breaks, misses none; one that falls further behind is a slow reader and loses its stream.
Messages are compressed once for all clients: each into blocks that need nothing of the blocks before them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import NamedTuple
from zlib import DEFLATED, Z_FULL_FLUSH, compressobj

from exporter.model import EventType
from exporter.web.interface import Watched
from exporter.web.responses import GZIP_LEVEL, error_response

PATH = "/api/v1/stream"
# With very many feeds a step takes long; the worker then pauses for so many times as long.
PAUSE_RATIO = 9
# Steps that are kept. So many more are made after the last client has gone, which may come back.
TICKS_KEPT = 15
CONTENT_TYPE = "text/event-stream; charset=utf-8"
# RFC 1952: deflate, without a name or a time. The checksum at the end never comes, as streams have no end.
GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_NO_HEADER = -15


class SlowReader(Exception):
    """A client has not read for longer than steps are kept."""


class _Message(NamedTuple):
    """A message in both forms."""

    plain: bytes
    packed: bytes

    @classmethod
    def of(cls, text: bytes) -> _Message:
        """Compress a message."""
        packer = compressobj(GZIP_LEVEL, DEFLATED, _NO_HEADER)
        return cls(text, packer.compress(text) + packer.flush(Z_FULL_FLUSH))


RETRY = _Message.of(b"retry: 2000\n\n")


class _Step(NamedTuple):
    """The messages of one step of all streams, those of published events by their type."""

    number: int
    update: _Message
    published: Mapping[EventType, _Message]

    def messages(self, types: frozenset[EventType]) -> Iterator[_Message]:
        """Yield the messages for a client that wants these types of events."""
        yield from self.events(types)
        yield self.update

    def events(self, types: frozenset[EventType]) -> Iterator[_Message]:
        """Yield the published events of these types."""
        yield from (message for event_type, message in self.published.items() if event_type in types)


class EventStream(NamedTuple):
    """A response without an end: its messages, and its headers."""

    messages: AsyncGenerator[bytes]
    headers: Mapping[str, str]
    status: int = 200


class _Run:
    """One run of the worker: the steps made last, and an event that is set with the next one or the end."""

    def __init__(self, watch: Watched) -> None:
        self.watch = watch
        self.steps: deque[_Step] = deque(maxlen=TICKS_KEPT)
        self.has_ended = False
        self._snapshot = 0, RETRY
        self._changed = asyncio.Event()

    # In the worker's thread.

    def step(self, types: frozenset[EventType], seconds: float) -> _Step:
        """Make a step; the next one is due after so many seconds."""
        number, update, published = self.watch.tick(types, seconds)
        events = {event_type: _message("published", data) for event_type, data in published.items()}
        return _Step(number, _message("update", update, f"{self.watch.start}.{number}"), events)

    def snapshot(self) -> tuple[int, _Message]:
        """Return the number of the last step and the whole state after it."""
        number, data = self.watch.snapshot()
        if self._snapshot[0] != number:
            self._snapshot = number, _message("snapshot", data, f"{self.watch.start}.{number}")
        return self._snapshot

    # In the thread of the event loop.

    def notify(self) -> None:
        """Wake all that wait."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def has_begun(self) -> bool:
        """Wait for the first step; return false if there was none."""
        while not self.steps and not self.has_ended:
            await self._changed.wait()
        return bool(self.steps)

    def since(self, number: int) -> list[_Step]:
        """Return the steps after the given one; raise SlowReader when the first of them is not kept any more."""
        found = [step for step in self.steps if step.number > number]
        if found and found[0].number > number + 1:
            raise SlowReader
        return found

    async def next(self, number: int) -> list[_Step]:
        """Wait for steps after the given one, and return them; none at the end of the run."""
        while not (found := self.since(number)) and not self.has_ended:
            await self._changed.wait()
        return found

    def missed(self, last_id: str, number: int) -> list[_Step]:
        """Return the kept steps after the last one that a client got, up to that of its snapshot."""
        start, _, last = last_id.rpartition(".")
        if start != self.watch.start or not (last.isascii() and last.isdecimal()):
            return []
        return [step for step in self.steps if int(last[:18]) < step.number <= number]


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
        self._deserted_at = 0.0
        self._run: _Run | None = None
        self._task: asyncio.Task[None] | None = None

    def close(self) -> None:
        """End all streams."""
        if self._task is not None:
            self._task.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def stream(self, types: frozenset[EventType], last_id: str, *, is_gzipped: bool) -> AsyncGenerator[bytes]:
        """Yield the bytes of a stream, with published events of some types.

        Events after `last_id` are included where they are kept. Ends when the state cannot be read; raises SlowReader
        when its messages are not taken in time.
        """
        if is_gzipped:
            yield GZIP_HEADER
        async with aclosing(self._messages(types, last_id)) as messages:
            async for message in messages:
                yield message.packed if is_gzipped else message.plain

    async def _messages(self, types: frozenset[EventType], last_id: str) -> AsyncGenerator[_Message]:
        listener, loop = object(), asyncio.get_running_loop()
        self._listeners[listener] = types
        try:
            run = self._started()
            yield RETRY
            if not await run.has_begun():
                return
            number, snapshot = await loop.run_in_executor(self._worker, run.snapshot)
            for message in (each for step in run.missed(last_id, number) for each in step.events(types)):
                yield message
            yield snapshot
            while steps := await run.next(number):
                for message in (each for step in steps for each in step.messages(types)):
                    yield message
                number = steps[-1].number
        finally:
            del self._listeners[listener]
            self._deserted_at = loop.time()
            self._left_at |= dict.fromkeys(types, self._deserted_at)

    def _types(self, now: float) -> frozenset[EventType]:
        """Return the types of events that clients have asked for, those included that may come back."""
        missed = {each for each, left_at in self._left_at.items() if now < left_at + self._linger_seconds}
        return frozenset(missed).union(*self._listeners.values())

    def _started(self) -> _Run:
        if self._run is None:
            self._run = _Run(self._watch())
            self._task = asyncio.create_task(self._work(self._run))
        return self._run

    async def _work(self, run: _Run) -> None:
        """Make steps until there has been no client for a while."""
        loop = asyncio.get_running_loop()
        seconds = self._tick_seconds
        try:
            while self._listeners or loop.time() < self._deserted_at + self._linger_seconds:
                began = loop.time()
                run.steps.append(await loop.run_in_executor(self._worker, run.step, self._types(began), seconds))
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


def _message(name: str, data: bytes, identity: str = "") -> _Message:
    line = f"id: {identity}\n" if identity else ""
    return _Message.of(b"%bevent: %b\ndata: %b\n\n" % (line.encode(), name.encode(), data))
