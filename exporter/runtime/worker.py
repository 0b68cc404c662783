"""Background threads for calls that may block without bound."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Task(Generic[T]):
    """A call in a background thread: `done()`, `wait`, and `result()`, which returns its value or raises its error."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._finished = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call; for the worker only."""
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error
        self._finished.set()

    def refuse(self, error: BaseException) -> None:
        """End without making the call: `result` raises the error."""
        self._error = error
        self._finished.set()

    def done(self) -> bool:
        """Return whether the call has ended."""
        return self._finished.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for the call to end; return whether it has."""
        return self._finished.wait(seconds)

    def result(self) -> T:
        """Return what the call returned, or raise what it raised. Only once it is done; an error is raised only once.

        An error refers to its frames, and so to their values, perhaps a producer with its threads. A task that kept
        its error would be part of a reference cycle, which only the rare garbage collection frees.
        """
        error, self._error = self._error, None
        if error is None:
            return self._value  # type: ignore[return-value]
        try:
            raise error
        finally:
            del error


def in_thread(call: Callable[[], T]) -> Task[T]:
    """Make one call in a new daemon thread: the end of the process does not wait for it."""
    task = Task(call)
    threading.Thread(target=task.run, daemon=True).start()
    return task


class Worker(Protocol):
    """An executor of calls, one after another in the order of their submission."""

    def submit(self, call: Callable[[], T]) -> Task[T]:
        """Queue a call, and return its task."""

    def stop(self) -> None:
        """End after the queued calls; return at once."""


class ThreadWorker:
    """A worker with a daemon thread: a call that never ends does not keep the process alive."""

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
