"""How other threads look at what the loop works on nearly all the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TypeVar

# The longest that visitors wait for the owner, unless one step takes longer.
PIECE_SECONDS = 0.002
# A lock is not fair by itself: whoever waits for it has to wake up first.
WAKE_SECONDS = 0.0002
# For so long a visit may go on; then the owner has its turn.
VISIT_SECONDS = 0.003

T = TypeVar("T")
R = TypeVar("R")


class Visits:
    """A context for those who visit: they get the owner's `lock` as soon as a piece of its work is done.

    One visitor at a time; the owner takes the lock itself, and calls `give_way` after each piece. Who visits again and
    again leaves time for the owner in between.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._queue = threading.Lock()
        self._is_awaited = False
        self._visits = 0

    def __enter__(self) -> None:
        self._queue.acquire()
        self._is_awaited = True
        self._lock.acquire()
        self._visits += 1
        self._is_awaited = False

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        time.sleep(WAKE_SECONDS)
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

    def give_way(self) -> None:
        """Let one visitor in who waits; costs nothing when none does."""
        before = self._visits
        while self._is_awaited and self._visits == before:
            time.sleep(WAKE_SECONDS)

    def pieces(self, steps: Iterable[object], monotonic: Callable[[], float]) -> Iterator[None]:
        """Take the owner's steps in pieces of `PIECE_SECONDS`, with the lock; yield after each piece, without it."""
        iterator = iter(steps)
        is_over = False
        while not is_over:
            with self._lock:
                until = monotonic() + PIECE_SECONDS
                is_over = all(monotonic() < until for _ in iterator)
            self.give_way()
            yield
