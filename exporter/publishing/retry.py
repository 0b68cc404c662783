"""The pause before the next attempt to publish, and faults that need an operator. Pure: time is an argument."""

from __future__ import annotations

from exporter.publishing.channels import Cause

# The cause of an abort may persist; without a pause the loop would abort thousands of times a minute.
PAUSE_SECONDS = {
    Cause.ABORTED: 0.2,
    Cause.TOO_LARGE: 0.2,
    Cause.NOT_OPEN: 1.0,
    Cause.FENCED: 1.0,
    Cause.DENIED: 10.0,
}
# An earlier producer that was abandoned too soon may fence this one once. Twice in this time is another process.
FENCED_AGAIN_SECONDS = 120.0
# Soon after other failures, the request of an abandoned producer of this process may be what fences.
OUTAGE_SECONDS = 60.0
DUPLICATE_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 300.0
DUPLICATE = "another process publishes events with the same instance name, each sidecar needs its own"


class RetryPolicy:
    """Pauses after failures; `needs_operator` is the fault that only an operator can correct, or empty."""

    def __init__(self) -> None:
        self.needs_operator = ""
        self._fenced_at = float("-inf")
        self._fences = 0
        self._outage_at = float("-inf")

    def failed(self, cause: Cause, error: str, now: float) -> float:
        """Record a failure at `now` (monotonic seconds); return the seconds to wait before the next attempt."""
        if cause is Cause.FENCED:
            return self._fenced(now)
        if cause is Cause.DENIED:
            self.needs_operator = f"publishing events is denied: {error}"
        if cause in (Cause.ABORTED, Cause.NOT_OPEN):
            self._outage_at = now
        return PAUSE_SECONDS[cause]

    def succeeded(self, now: float) -> None:
        """Record that events were published at `now` (monotonic seconds)."""
        if self._was_alone(now):
            self._fences = 0
        if self._fences < 2:
            self.needs_operator = ""

    def _fenced(self, now: float) -> float:
        if now - self._outage_at < OUTAGE_SECONDS:
            return PAUSE_SECONDS[Cause.FENCED]
        self._fences = 1 if self._was_alone(now) else self._fences + 1
        self._fenced_at = now
        if self._fences > 1:
            self.needs_operator = DUPLICATE
        return self._pause()

    def _was_alone(self, now: float) -> bool:
        return now - self._fenced_at > self._pause() + FENCED_AGAIN_SECONDS

    def _pause(self) -> float:
        if self._fences < 2:
            return PAUSE_SECONDS[Cause.FENCED]
        return min(LONGEST_PAUSE_SECONDS, DUPLICATE_PAUSE_SECONDS * 2.0 ** (self._fences - 2))
