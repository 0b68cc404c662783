"""How other threads look at what the loop works on nearly all the time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TypeVar

# The longest that visitors wait for the owner, unless one step takes longer.
PIECE_SECONDS = 0.002
# For so long a visit may go on; then the owner has its turn. On a machine with more to do than it has processors, each
# change of threads takes milliseconds: a scrape that renders thousands of feeds in short visits waits most of the time.
VISIT_SECONDS = 0.004

T = TypeVar("T")
R = TypeVar("R")


class FairLock:
    """A lock as a context that is passed on to the thread that has waited for it longest.

    A `threading.Lock` goes to the thread that is awake: the one that has just released it. Here that thread runs on
    until it wants the lock again, and then waits, without a look in between that would take the interpreter from the
    thread that has the lock.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()  # held for microseconds
        self._is_held = False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._changing:
            if not self._is_held:
                self._is_held = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()

    def __exit__(self, *_: object) -> None:
        with self._changing:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False


class ReadAccess:
    """A context for those who visit: they get the owner's `lock` as soon as a piece of its work is done.

    One visitor at a time waits for the lock, so the owner has its turn after each visit, however many there are.
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

    def each(self, items: Iterable[T], look: Callable[[T], R]) -> Iterator[R]:
        """Yield what `look` returns for each item; as many of them in one visit as take `VISIT_SECONDS`.

        However many there are, the owner never waits for more than one item longer than that.
        """
        waiting = iter(items)
        for item in waiting:
            yield from self._some(chain((item,), waiting), look)

    def _some(self, items: Iterable[T], look: Callable[[T], R]) -> list[R]:
        seen: list[R] = []
        with self:
            end = time.perf_counter() + VISIT_SECONDS
            for item in items:
                seen.append(look(item))
                if time.perf_counter() >= end:
                    break
        return seen

    def pieces(self, steps: Iterable[object], monotonic: Callable[[], float]) -> Iterator[None]:
        """Take the owner's steps in pieces of `PIECE_SECONDS`, with the lock; yield after each piece, without it."""
        iterator = iter(steps)
        is_over = False
        while not is_over:
            with self._lock:
                until = monotonic() + PIECE_SECONDS
                is_over = True
                for _ in iterator:
                    if monotonic() >= until:
                        is_over = False
                        break
            yield
