"""When to replace the consumer: after it failed, or no broker was found. Pure: time is an argument, in seconds."""

from __future__ import annotations

# The wait before a failed consumer is replaced; doubled each time when it fails again soon.
REOPEN_SECONDS = 1.0
LONGEST_REOPEN_SECONDS = 60.0
_NEVER = float("-inf")


class ReconnectPolicy:
    """Policy for replacing the consumer. `failure` is why it cannot be used any more, empty while it can.

    After `down_seconds` without a broker their addresses may have changed, which librdkafka does not notice.
    """

    def __init__(self, down_seconds: float) -> None:
        self.failure = ""
        self.down_seconds = down_seconds
        self._failed_at = _NEVER
        self._reopen_seconds = REOPEN_SECONDS
        self._down_at: float | None = None

    @property
    def is_reachable(self) -> bool:
        """Whether a broker answers, as far as reported."""
        return self._down_at is None

    def broker_down(self, now: float) -> None:
        """Mark the cluster unreachable, and start the `down_seconds` timer unless it runs."""
        if self._down_at is None:
            self._down_at = now

    def broker_up(self) -> None:
        """Mark the cluster reachable and stop the `down_seconds` timer."""
        self._down_at = None

    def is_down_too_long(self, now: float) -> bool:
        """Return whether the cluster has been unreachable for more than `down_seconds`."""
        return self._down_at is not None and now - self._down_at > self.down_seconds

    def consumer_failed(self, why: str, now: float) -> float:
        """Record that the consumer failed; return the seconds until it is to be replaced."""
        is_new = now - self._failed_at > 2 * LONGEST_REOPEN_SECONDS
        self._reopen_seconds = REOPEN_SECONDS if is_new else min(LONGEST_REOPEN_SECONDS, self._reopen_seconds * 2)
        self.failure, self._failed_at = why, now
        return self._reopen_seconds

    def outdated(self, why: str) -> None:
        """Record that the consumer is to be replaced now."""
        self.failure, self._failed_at = why, _NEVER

    def wait_seconds(self, now: float) -> float:
        """Return the seconds until the failed consumer is to be replaced; 0 or less when it is time."""
        return self._failed_at + self._reopen_seconds - now

    def reopened(self) -> None:
        """Record that the consumer was replaced."""
        self.failure = ""
