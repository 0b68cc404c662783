"""What keeps a consumer from reading: no broker is to be found, or it broke. Pure: time is an argument, in seconds."""

from __future__ import annotations

# A consumer that broke is replaced after so long; twice as long each time when it breaks again soon.
REOPEN_SECONDS = 1.0
LONGEST_REOPEN_SECONDS = 60.0
_NEVER = float("-inf")


class ReconnectPolicy:
    """`broken` is why the consumer cannot be used any more, empty while it can.

    A cluster of which no broker is found for `down_seconds` may have other addresses by now.
    """

    def __init__(self, down_seconds: float) -> None:
        self.broken = ""
        self.down_seconds = down_seconds
        self._broken_at = _NEVER
        self._reopen_seconds = REOPEN_SECONDS
        self._down_at: float | None = None

    @property
    def is_reachable(self) -> bool:
        """Whether some broker answers, as far as anybody said."""
        return self._down_at is None

    def broker_down(self, now: float) -> None:
        """Learn that none is to be found."""
        if self._down_at is None:
            self._down_at = now

    def broker_up(self) -> None:
        """Learn that one answers, or forget that none did."""
        self._down_at = None

    def is_long(self, now: float) -> bool:
        """Whether none was found for longer than `down_seconds`."""
        return self._down_at is not None and now - self._down_at > self.down_seconds

    def breaks(self, why: str, now: float) -> float:
        """Learn that the consumer broke; return the seconds until it is replaced."""
        is_new = now - self._broken_at > 2 * LONGEST_REOPEN_SECONDS
        self._reopen_seconds = REOPEN_SECONDS if is_new else min(LONGEST_REOPEN_SECONDS, self._reopen_seconds * 2)
        self.broken, self._broken_at = why, now
        return self._reopen_seconds

    def wait_seconds(self, now: float) -> float:
        """Return how long it still takes until the broken consumer is replaced; not more than 0 when it is time."""
        return self._broken_at + self._reopen_seconds - now

    def replaced(self) -> None:
        """Learn that there is another consumer."""
        self.broken = ""
