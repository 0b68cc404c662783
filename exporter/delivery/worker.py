"""One daemon thread for calls that may block without bound, so that nobody else has to wait for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Task(Generic[T]):
    """A call on its way: ask `done()`, or `wait` for it; `result()` returns its value or raises its error."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._finished = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call; on the worker's thread."""
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error
        self._finished.set()

    def done(self) -> bool:
        """Return whether the call has ended."""
        return self._finished.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for the call's end; return whether it came."""
        return self._finished.wait(seconds)

    def result(self) -> T:
        """Return what the call returned, or raise what it raised. Only once it is done."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


class Worker:
    """Makes calls in order on a thread of its own. The thread is a daemon: a call that never ends holds up nobody."""

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[Task[object] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, call: Callable[[], T]) -> Task[T]:
        """Queue a call."""
        task = Task(call)
        self._tasks.put(task)  # type: ignore[arg-type]
        return task

    def stop(self) -> None:
        """Let the thread end after what is queued; does not wait for it."""
        self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task.run()
