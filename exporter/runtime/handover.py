"""Work that other threads hand to the thread that owns a state."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from exporter.runtime.worker import Task


class NotTaken(Exception):
    """The owner has not made the call, and will not: it has ended, or does something else for too long."""


class Handover:
    """Calls by other threads, one after another, made by the owner between two pieces of its own work.

    `waiting` are the calls that are not made yet.
    """

    def __init__(self) -> None:
        self.waiting: deque[Task[None]] = deque()
        self._changing = threading.Lock()
        self._is_closed = False

    def run(self, call: Callable[[], None], seconds: float) -> None:
        """Wait until the owner has made the call; raise what it raised, or NotTaken if it does not begin in time."""
        task = Task(call)
        with self._changing:
            if self._is_closed:
                raise NotTaken
            self.waiting.append(task)
        if not task.wait(seconds) and self._withdraw(task):
            raise NotTaken
        task.wait(threading.TIMEOUT_MAX)
        task.result()

    def take(self) -> None:
        """Make the calls that wait; for the owner."""
        while (task := self._next()) is not None:
            task.run()

    def close(self) -> None:
        """Take no more calls; for the owner."""
        with self._changing:
            self._is_closed = True
            for task in self.waiting:
                task.refuse(NotTaken())
            self.waiting.clear()

    def _next(self) -> Task[None] | None:
        with self._changing:
            return self.waiting.popleft() if self.waiting else None

    def _withdraw(self, task: Task[None]) -> bool:
        """Return whether the call was not begun, and is not going to be."""
        with self._changing:
            if task not in self.waiting:
                return False
            self.waiting.remove(task)
            return True
