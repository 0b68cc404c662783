"""Limits of the processor time of threads that own sockets: the interpreter runs one thread at a time."""

from __future__ import annotations

import selectors
import time

# A pause after less work costs more than it saves.
WORK_SECONDS = 0.001
PAUSE_SECONDS_MAX = 0.02


class CpuThrottle:
    """Throttle of one thread, which pauses for as long as it worked and so uses at most half of a processor."""

    def __init__(self) -> None:
        self._paused_at = 0.0

    def pause(self) -> None:
        """Sleep, if the calling thread has worked for `WORK_SECONDS` since the last pause."""
        worked = time.thread_time() - self._paused_at
        if worked >= WORK_SECONDS:
            time.sleep(min(worked, PAUSE_SECONDS_MAX))
            self._paused_at = time.thread_time()


class ThrottledSelector(selectors.DefaultSelector):
    """A selector whose event loop is throttled."""

    def __init__(self) -> None:
        super().__init__()
        self._throttle = CpuThrottle()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See BaseSelector."""
        self._throttle.pause()
        return super().select(timeout)
