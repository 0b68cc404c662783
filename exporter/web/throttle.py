"""Limits of the processor time of threads that own sockets: the interpreter runs one thread at a time."""

from __future__ import annotations

import selectors
import time

# A pause after less work costs more than it saves.
WORK_SECONDS = 0.001
PAUSE_SECONDS_MAX = 0.02
# Processor time without a pause, for a burst of requests: what 2,000 handshakes take. It is saved in ten seconds of
# rest; a thread that never rests for longer than it works has next to nothing of it.
BURST_SECONDS = 0.5
SAVED_SHARE = 0.05


class Allowance:
    """Pauses of a thread that may use half of a processor, and more of it after a rest. Pure."""

    def __init__(self) -> None:
        self._saved_seconds = BURST_SECONDS

    def pause_seconds(self, worked_seconds: float, rested_seconds: float) -> float:
        """Return how long to pause after so much work, before which the thread rested for so long."""
        self._saved_seconds = min(BURST_SECONDS, self._saved_seconds + SAVED_SHARE * rested_seconds)
        spent = min(worked_seconds, self._saved_seconds)
        self._saved_seconds -= spent
        return min(worked_seconds - spent, PAUSE_SECONDS_MAX)


class CpuThrottle:
    """Throttle of one thread, which pauses for as long as it worked, unless it has rested before."""

    def __init__(self) -> None:
        self._allowance = Allowance()
        self._worked_until = 0.0
        self._paused_at = time.monotonic()

    def pause(self) -> None:
        """Sleep, if the calling thread has worked for `WORK_SECONDS` since the last pause and has nothing saved."""
        worked = time.thread_time() - self._worked_until
        if worked < WORK_SECONDS:
            return
        if pause := self._allowance.pause_seconds(worked, max(0.0, time.monotonic() - self._paused_at - worked)):
            time.sleep(pause)
        self._worked_until, self._paused_at = time.thread_time(), time.monotonic()


class ThrottledSelector(selectors.DefaultSelector):
    """A selector whose event loop is throttled."""

    def __init__(self) -> None:
        super().__init__()
        self._throttle = CpuThrottle()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See BaseSelector."""
        self._throttle.pause()
        return super().select(timeout)
