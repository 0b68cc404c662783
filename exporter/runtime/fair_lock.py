"""A fair lock, and access for reader threads to the state of an owner that works nearly all the time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TypeVar

# The longest that readers wait for the owner, unless a single step takes longer.
PIECE_SECONDS = 0.002
# How long a reader may keep the lock before the owner has its turn. On a machine with more work than processors, each
# change of threads takes milliseconds: a scrape of thousands of feeds in short visits waits most of the time.
VISIT_SECONDS = 0.004

T = TypeVar("T")
R = TypeVar("R")


class FairLock:
    """Context manager of a lock that is passed on to the thread that has waited longest.

    A `threading.Lock` goes to the running thread, which is the one that has just released it. Here that thread runs on
    until it acquires the lock again, and then waits without polling, which would take the interpreter from the thread
    that has the lock. `monotonic` measures for how long it is held.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._changing = threading.Lock()  # held for microseconds
        self._is_held = False
        self._due = 0.0
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        turn = self._queued()
        if turn is not None:
            turn.acquire()
        self._due = self._monotonic() + PIECE_SECONDS

    def _queued(self) -> threading.Lock | None:
        """Return what to acquire before the caller has the lock, or None if it has."""
        with self._changing:
            if not self._is_held:
                self._is_held = True
                return None
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
            return turn

    def __exit__(self, *_: object) -> None:
        with self._changing:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False

    def yield_to_waiters(self) -> None:
        """Let threads that wait have the lock, if the caller has had it for `PIECE_SECONDS`, before that goes on."""
        if self._waiting and self._monotonic() >= self._due:
            self.__exit__()
            self.__enter__()

    def run(self, steps: Iterable[object]) -> None:
        """Take the steps of long work with the lock, which waiting threads get after each `PIECE_SECONDS`."""
        with self:
            for _ in steps:
                self.yield_to_waiters()


class ReadAccess:
    """Context manager for reader threads: acquires the owner's `lock` after the current piece of its work.

    Only one reader at a time waits for the lock, so the owner has its turn after each visit, whatever their number.
    """

    def __init__(self, lock: FairLock) -> None:
        self._lock = lock
        self._queue = threading.Lock()

    def __enter__(self) -> None:
        self._queue.acquire()
        self._lock.__enter__()

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__()
        self._queue.release()

    def each(self, items: Iterable[T], read: Callable[[T], R]) -> Iterator[R]:
        """Yield the result of `read` for each item, reading items for up to `VISIT_SECONDS` in one visit.

        The owner waits for `VISIT_SECONDS` and one item at most, whatever the number of items.
        """
        waiting = iter(items)
        for item in waiting:
            yield from self._some(chain((item,), waiting), read)

    def _some(self, items: Iterable[T], read: Callable[[T], R]) -> list[R]:
        seen: list[R] = []
        with self:
            end = time.perf_counter() + VISIT_SECONDS
            for item in items:
                seen.append(read(item))
                if time.perf_counter() >= end:
                    break
        return seen
