"""How long to wait before publishing is tried again, and what only an operator can mend. Pure: time is an argument."""

from __future__ import annotations

from exporter.publishing.channels.channel import Cause

# After an abort the cause may last; without a pause the loop would abort thousands of times a minute.
PAUSE_SECONDS = {
    Cause.ABORTED: 0.2,
    Cause.TOO_LARGE: 0.2,
    Cause.NOT_OPEN: 1.0,
    Cause.FENCED: 1.0,
    Cause.DENIED: 10.0,
}
# A predecessor that was given up too early may throw us out once. Twice in so long is another process.
FENCED_AGAIN_SECONDS = 120.0
# After other failures so long ago at most it may be what our own producers asked before they were given up.
OUTAGE_SECONDS = 60.0
DUPLICATE_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 300.0
DUPLICATE = "another process publishes as this instance: each needs an `instance` of its own"


class RetryPolicy:
    """`needs_operator` is empty unless somebody has to help."""

    def __init__(self) -> None:
        self.needs_operator = ""
        self._fenced_at = float("-inf")
        self._fences = 0
        self._out_at = float("-inf")

    def failed(self, cause: Cause, trouble: str, now: float) -> float:
        """Return the seconds to wait."""
        if cause is Cause.FENCED:
            return self._fenced(now)
        if cause is Cause.DENIED:
            self.needs_operator = f"not allowed: {trouble}"
        if cause in (Cause.ABORTED, Cause.NOT_OPEN):
            self._out_at = now
        return PAUSE_SECONDS[cause]

    def succeeded(self, now: float) -> None:
        """Learn that something was published."""
        if self._has_been_alone(now):
            self._fences = 0
        if self._fences < 2:
            self.needs_operator = ""

    def _fenced(self, now: float) -> float:
        if now - self._out_at < OUTAGE_SECONDS:
            return PAUSE_SECONDS[Cause.FENCED]
        self._fences = 1 if self._has_been_alone(now) else self._fences + 1
        self._fenced_at = now
        if self._fences > 1:
            self.needs_operator = DUPLICATE
        return self._pause()

    def _has_been_alone(self, now: float) -> bool:
        return now - self._fenced_at > self._pause() + FENCED_AGAIN_SECONDS

    def _pause(self) -> float:
        if self._fences < 2:
            return PAUSE_SECONDS[Cause.FENCED]
        return min(LONGEST_PAUSE_SECONDS, DUPLICATE_PAUSE_SECONDS * 2.0 ** (self._fences - 2))
