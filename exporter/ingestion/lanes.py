"""The events of one assigned partition, handled one after another in the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from confluent_kafka import Message

from exporter.model import Partition

Handle = Callable[["Lane", Message], Awaitable[None]]


class Abandoned(Exception):
    """An event is not handled to its end because its partition is released: it is left to the next owner."""


class Lane:
    """One partition from its assignment to its release.

    `start`, `put`, `close` and `cancel` belong to the event loop. `handled` has the offsets whose handlers have
    returned, `ended` is set when no handler runs any more, `next_offset` is that of the first event that is not handled
    (None before the first), and `queued` and `is_paused` belong to the reading thread.
    `is_stopped` is asked before each event: the reading thread, which closes the lane, may be late.
    """

    def __init__(
        self,
        partition: Partition,
        handle: Handle,
        on_failure: Callable[[BaseException], None],
        is_stopped: Callable[[], bool],
    ) -> None:
        self.partition = partition
        self.handled: deque[int] = deque()
        self.ended = threading.Event()
        self.next_offset: int | None = None
        self.queued = 0
        self.is_paused = False
        self._handle = handle
        self._on_failure = on_failure
        self._is_stopped = is_stopped
        # Not asyncio.Queue, which takes as long for an event as decoding it.
        self._waiting: deque[Message] = deque()
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def waiting(self) -> int:
        """Return how many messages were handed over and are not handled, for the reading thread."""
        return self.queued - len(self.handled)

    def start(self) -> None:
        """Begin to handle what is put."""
        self._task = asyncio.ensure_future(self._run())
        self._task.add_done_callback(self._on_end)

    def put(self, messages: Sequence[Message]) -> None:
        """Queue messages."""
        if self.next_offset is None and messages:
            self.next_offset = messages[0].offset()
        self._waiting.extend(messages)
        self._news.set()

    def close(self) -> None:
        """Begin no further event; one that is being handled goes on."""
        self._closing.set()
        self._news.set()

    def cancel(self) -> None:
        """Cancel the handler that runs."""
        if self._task is not None:
            self._task.cancel()

    async def pause(self, seconds: float) -> None:
        """Wait before another attempt; raise `Abandoned` when the partition is released meanwhile."""
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return
        raise Abandoned

    async def _run(self) -> None:
        while not self._is_ending():
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
                continue
            message = self._waiting.popleft()
            try:
                await self._handle(self, message)
            except Abandoned:
                return
            self.handled.append(message.offset() or 0)
            self.next_offset = (message.offset() or 0) + 1

    def _is_ending(self) -> bool:
        return self._closing.is_set() or self._is_stopped()

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)
        self.ended.set()
