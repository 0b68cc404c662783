"""How the threads that own sockets leave time for the others: the interpreter runs one of them at a time."""

from __future__ import annotations

import selectors
import time

# Below it a rest costs more than it gives.
WORK_SECONDS = 0.001
REST_SECONDS_MAX = 0.02


class Pace:
    """Rests after work for as long as it took, so that a thread takes half of a processor at most; one thread's own."""

    def __init__(self) -> None:
        self._rested_at = 0.0

    def rest(self) -> None:
        """Rest, if the calling thread has worked for `WORK_SECONDS` since the last time."""
        worked = time.thread_time() - self._rested_at
        if worked >= WORK_SECONDS:
            time.sleep(min(worked, REST_SECONDS_MAX))
            self._rested_at = time.thread_time()


class PacedSelector(selectors.DefaultSelector):
    """A selector for the event loop of a thread that keeps the pace."""

    def __init__(self) -> None:
        super().__init__()
        self._pace = Pace()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See BaseSelector."""
        self._pace.rest()
        return super().select(timeout)
