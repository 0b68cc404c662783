"""Calls that may block without bound are made by a worker, so that nobody else has to wait for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Task(Generic[T]):
    """A call on its way: ask `done()`, or `wait` for it; `result()` returns its value or raises its error."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._finished = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call; the worker does."""
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
        """Return what the call returned, or raise what it raised: only once it is done, and an error only once.

        An error has the frames that it comes through, and all that they hold: perhaps a producer, with its threads. If
        the task kept it, it would have itself, and only the garbage collector would ever let go of all that.
        """
        error, self._error = self._error, None
        if error is None:
            return self._value  # type: ignore[return-value]
        try:
            raise error
        finally:
            del error


def aside(call: Callable[[], T]) -> Task[T]:
    """Make one call on a thread of its own, which is a daemon: the end of the process does not wait for it."""
    task = Task(call)
    threading.Thread(target=task.run, daemon=True).start()
    return task


class Worker(Protocol):
    """Makes calls one after another, in the order in which they were submitted."""

    def submit(self, call: Callable[[], T]) -> Task[T]:
        """Queue a call."""

    def stop(self) -> None:
        """End after what is queued; does not wait for it."""


class ThreadWorker:
    """Makes them on a thread of its own, which is a daemon: a call that never ends holds up nobody."""

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[Task[object] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, call: Callable[[], T]) -> Task[T]:
        """See Worker."""
        task = Task(call)
        self._tasks.put(task)  # type: ignore[arg-type]
        return task

    def stop(self) -> None:
        """See Worker."""
        self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task.run()
