"""The states of a circuit breaker: when to leave a server alone that fails, and when to try it again. Pure.

    closed --`failures` in a row--> open --`open_seconds` later--> half_open --success--> closed
                                     ^                                 |
                                     +--------------failure------------+

Time is an argument, in seconds of a clock that never goes back. An object has one owner; others only read `state`.
"""

from __future__ import annotations

import math
from enum import StrEnum


class CircuitState(StrEnum):
    """The states of a breaker; a closed set."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Circuit:
    """Circuit of one server: the caller checks `allows` before each attempt and reports how it ended.

    `turn` changes with each state and each attempt of a half-open circuit. Where attempts overlap, an attempt that
    began in another turn reports nothing: it was made before the circuit opened, or was given up.
    """

    def __init__(self, failures: int = 5, open_seconds: float = 10.0) -> None:
        self.state = CircuitState.CLOSED
        self.turn = 0
        self._limit = failures
        self._open_seconds = open_seconds
        self._failures = 0
        self._retry_at = 0.0

    def allows(self, now: float) -> bool:
        """Return whether to try now; half-open, one attempt at a time, and another if it does not report."""
        if self.state is CircuitState.CLOSED:
            return True
        if now < self._retry_at:
            return False
        self._enter(CircuitState.HALF_OPEN, now + self._open_seconds)
        return True

    def retry_in(self, now: float) -> float:
        """Return the seconds until the next attempt is allowed."""
        return 0.0 if self.state is CircuitState.CLOSED else max(0.0, self._retry_at - now)

    def succeeded(self) -> None:
        """Record that the server answered."""
        self._failures = 0
        if self.state is not CircuitState.CLOSED:
            self._enter(CircuitState.CLOSED, 0.0)

    def failed(self, now: float) -> None:
        """Record a failed attempt; failures while the circuit is open do not keep it open for longer."""
        if self.state is CircuitState.OPEN:
            return
        self._failures += 1
        if self._failures >= self._limit:
            self._enter(CircuitState.OPEN, now + self._open_seconds)

    def abandoned(self) -> None:
        """Record an attempt that ended without an answer, as one that was cancelled; half-open, another may begin."""
        if self.state is CircuitState.HALF_OPEN:
            self._enter(CircuitState.HALF_OPEN, -math.inf)

    def _enter(self, state: CircuitState, retry_at: float) -> None:
        self.state, self._retry_at = state, retry_at
        self.turn += 1
