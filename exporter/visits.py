"""How other threads look at what the loop works on nearly all the time."""

from __future__ import annotations

import threading
import time

# Long enough for a thread that waits to wake up and take a lock, which is not fair by itself.
GIVE_WAY_SECONDS = 0.0002


class Visits:
    """A context for those who visit: they get the owner's `lock` as soon as a piece of its work is done.

    One visitor at a time; the owner takes the lock itself, and calls `give_way` after each piece.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._queue = threading.Lock()
        self._is_awaited = False

    def __enter__(self) -> None:
        self._queue.acquire()
        self._is_awaited = True
        self._lock.acquire()
        self._is_awaited = False

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self._queue.release()

    def give_way(self) -> None:
        """Let a visitor in who waits; costs nothing when none does."""
        if self._is_awaited:
            time.sleep(GIVE_WAY_SECONDS)
