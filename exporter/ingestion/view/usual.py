"""The usual length of what recurs, and the limits that follow from it. Pure."""

from __future__ import annotations

from collections import deque

KEPT = 32
LEARNED = 3
# The limit of a round is this factor of its usual duration. It is tested once a second, and a round that never
# completes is to be named within twice the usual duration: the second is taken off, as far as that leaves a margin.
FACTOR = 1.75
MARGIN = 1.25
EVALUATION_MS = 1_000
# The limit of a source of which fewer than `LEARNED` durations are known.
UNLEARNED_MS = 1_800_000


class UsualLength:
    """The length that nine of ten of the last ones do not exceed, in milliseconds; None until three are known.

    One exception among three to ten of them, and three among 32, leave it as it is.
    """

    __slots__ = ("_last", "value_ms")

    def __init__(self) -> None:
        self._last: deque[int] = deque(maxlen=KEPT)
        self.value_ms: int | None = None

    def add(self, length_ms: int) -> None:
        """Take one length into account."""
        self._last.append(length_ms)
        if len(self._last) >= LEARNED:
            self.value_ms = sorted(self._last)[9 * (len(self._last) - 1) // 10]


def round_limit_ms(usual_ms: int | None) -> int:
    """Return the age at which a round is overdue, in milliseconds."""
    if usual_ms is None:
        return UNLEARNED_MS
    within_twice = min(FACTOR * usual_ms, 2 * usual_ms - EVALUATION_MS)
    return max(EVALUATION_MS, round(MARGIN * usual_ms), int(within_twice))
