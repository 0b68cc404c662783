"""The clock of a run: seconds after its start, which is set once everything is prepared."""

from __future__ import annotations

import time


class RunClock:
    """Seconds after `start` was called; before that, after this value was made."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def start(self, started: float) -> None:
        """Set time 0, as `time.monotonic` gives it."""
        self._started = started

    def now(self) -> float:
        """Return the seconds."""
        return time.monotonic() - self._started
