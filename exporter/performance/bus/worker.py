"""The queue and the worker of one handler. `offer` may be called by any thread, the rest in the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Lock
from typing import Any, Literal, NamedTuple, TypeAlias

from exporter.performance.bus.figures import HandlerFigures
from exporter.performance.notices import log

Handler: TypeAlias = Callable[[Any], Awaitable[object]]
WhenFull: TypeAlias = Literal["drop", "wait"]
# A handler that never waits for anything leaves the others a turn after so many events.
TURN_EVENTS = 64
LONGEST_PAUSE = 60.0


class HandlerOptions(NamedTuple):
    """What a handler was subscribed with; times are in seconds."""

    queue_capacity: int
    time_limit: float
    max_retries: int
    retry_delay: float
    when_full: WhenFull

    def check(self) -> None:
        """Raise `ValueError` for impossible values."""
        if self.queue_capacity < 1 or not self.time_limit > 0 or self.max_retries < 0 or self.retry_delay < 0:
            raise ValueError(f"queue_capacity is at least 1, time_limit above 0, the others at least 0, not {self}")
        if self.when_full not in ("drop", "wait"):
            raise ValueError(f"when_full is 'drop' or 'wait', not {self.when_full!r}")


class Worker:
    """Handles the events of its queue, one after another."""

    def __init__(self, handler: Handler, options: HandlerOptions, figures: HandlerFigures) -> None:
        self.handler = handler
        self.options = options
        self.figures = figures
        self.is_open = True
        self._queue = deque[tuple[str, Any]]()
        self._lock = Lock()
        self._is_idle = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._current: str | None = None  # the event that is handled
        self._deadline: float | None = None  # of an attempt, in monotonic seconds
        self._cancels = 0  # of this attempt, because of its deadline
        self._is_failing = False

    def __len__(self) -> int:
        return len(self._queue)

    # Publishers.

    def offer(self, event: str, payload: Any) -> bool:
        """Queue an event; return False if there is no room, or no more event is taken."""
        with self._lock:
            if not self.is_open or len(self._queue) >= self.options.queue_capacity:
                return False
            self._queue.append((event, payload))
            is_idle, self._is_idle = self._is_idle, False
        if is_idle and self._loop is not None:
            if self._loop is running_loop():
                self._news.set()
            else:
                with suppress(RuntimeError):  # closed: the event waits for the next
                    self._loop.call_soon_threadsafe(self._news.set)
        return True

    async def put(self, event: str, payload: Any) -> bool:
        """Queue an event after waiting for room; return False if no more event is taken."""
        while not self.offer(event, payload):
            if not self.is_open or self._task is None:
                return False
            self._room.clear()
            await self._room.wait()
        return True

    def refuse(self, event: str) -> None:
        """Count an event for which there was no place."""
        self.figures.drop(event, "full" if self.is_open else "stopped")

    # The bus.

    def start(self) -> asyncio.Task[None]:
        """Begin to handle events in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._news, self._room = asyncio.Event(), asyncio.Event()  # those of an earlier event loop belong to it
        self._is_idle, self._deadline = False, None
        self.drop_current()
        self._task = self._loop.create_task(self._work(), name=f"bus {self.figures.name}")
        return self._task

    def close(self) -> None:
        """Take no more events; the worker ends when its queue is empty."""
        with self._lock:
            self.is_open = False
        self._news.set()
        self._room.set()

    def drop_queue(self) -> int:
        """Drop what waits in the queue; return the number."""
        rest = list(self._queue)
        self._queue.clear()
        for event, _ in rest:
            self.figures.drop(event, "unfinished")
        return len(rest)

    def drop_current(self) -> int:
        """Drop the event whose handling did not end; return 1, or 0 if there is none."""
        event, self._current = self._current, None
        if event is None:
            return 0
        self.figures.drop(event, "unfinished")
        return 1

    def check_time(self, now: float) -> None:
        """Cancel an attempt that is beyond its deadline; again with each call, if it goes on."""
        if self._deadline is not None and now >= self._deadline and self._task is not None:
            self._cancels += 1
            self._task.cancel()

    # The task.

    async def _work(self) -> None:
        handled = 0
        while await self._has_event():
            self._current, payload = self._queue.popleft()
            self._room.set()
            await self._handle(self._current, payload)
            self._current = None
            handled += 1
            if handled % TURN_EVENTS == 0:
                await asyncio.sleep(0)

    async def _has_event(self) -> bool:
        """Wait for an event; return False at the end."""
        while not self._queue:
            with self._lock:
                if self._queue:
                    return True
                if not self.is_open:
                    return False
                self._news.clear()
                self._is_idle = True
            await self._news.wait()
        return True

    async def _handle(self, event: str, payload: Any) -> None:
        """Call the handler, and again after failures, as often as it may be."""
        result = await self._attempt(event, payload)
        for repetition in range(self.options.max_retries):
            if result == "handled":
                break
            self.figures.count(event, "retried")
            await asyncio.sleep(min(LONGEST_PAUSE, self.options.retry_delay * 2**repetition))
            result = await self._attempt(event, payload)
        self.figures.count(event, result)

    async def _attempt(self, event: str, payload: Any) -> str:
        """Return how one call of the handler ended."""
        begin = time.monotonic()
        self._deadline, self._cancels = begin + self.options.time_limit, 0
        error: BaseException | None = None
        try:
            await self.handler(payload)
        except (Exception, asyncio.CancelledError) as raised:
            error = raised
        finally:
            end, self._deadline = time.monotonic(), None
        self.figures.duration.observe(end - begin)
        if self._cancels or isinstance(error, asyncio.CancelledError):
            self._check_end()
        if self._cancels:
            error = TimeoutError(f"cancelled after {end - begin:.3g} s")
        self._report(event, error)
        return "timed_out" if self._cancels else "failed" if error else "handled"

    def _check_end(self) -> None:
        """Raise `CancelledError` when the task was cancelled by another than `check_time`."""
        assert self._task is not None  # noqa: S101, this is called within it
        for _ in range(self._cancels):
            self._task.uncancel()
        if self._task.cancelling():
            raise asyncio.CancelledError

    def _report(self, event: str, error: BaseException | None) -> None:
        """Log the first of several failures."""
        if error is not None and not self._is_failing:
            log.warning("handler %s fails, event %s: %s", self.figures.name, event, str(error) or repr(error))
        self._is_failing = error is not None


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
