"""What time it is, and letting some pass."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where those who wait get their time from, so that a test can give it to them."""

    def now_ms(self) -> int:
        """Return Unix milliseconds."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def sleep(self, seconds: float) -> None:
        """Return after so long."""


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return time.time_ns() // 1_000_000

    # The functions themselves: the loop takes the time a dozen times a turn, and once a record.
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)
