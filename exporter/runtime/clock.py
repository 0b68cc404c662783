"""Time of the system: Unix milliseconds, monotonic seconds, and sleep."""

from __future__ import annotations

import time
from typing import Protocol


def now_ms() -> int:
    """Return the time in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Clock(Protocol):
    """A source of time, so that tests can supply their own."""

    def now_ms(self) -> int:
        """Return the time in Unix milliseconds."""

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes backwards."""

    def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""


class SystemClock:
    """The clocks of the machine."""

    # The functions themselves: the loop reads the time a dozen times a turn, and once a record.
    now_ms = staticmethod(now_ms)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)
