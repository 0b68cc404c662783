"""When the requests of one user are due. Pure: times are arguments."""

from __future__ import annotations

_GOLDEN_RATIO = 0.6180339887498949


def phase(number: int) -> float:
    """Return where between two requests of a user those of the user of this number are: evenly for any number."""
    return number * _GOLDEN_RATIO % 1.0


class Schedule:
    """Requests at equal distances from `start`, whether or not those before were answered in time.

    Times and distances are seconds. What became due during a long answer is sent right after it, each request with the
    time when it was due: that is when users wanted it.
    """

    __slots__ = ("_between", "_free", "_is_waiting", "due")

    def __init__(self, start: float, between: float) -> None:
        self.due = start
        self._between = between
        self._free = start
        self._is_waiting = False

    def sent(self, now: float) -> float:
        """Send a request; return how much later that is than it could be: when it was due and the user was free."""
        self._is_waiting = True
        return max(0.0, now - max(self.due, self._free))

    def answered(self, now: float) -> float:
        """Return the seconds from when the request was due until now, and go on to the next one."""
        latency, self.due, self._free = now - self.due, self.due + self._between, now
        self._is_waiting = False
        return latency

    def wait(self, now: float) -> float:
        """Return the seconds until the next request is due; 0 if it is."""
        return max(0.0, self.due - now)

    def overdue(self, now: float) -> int:
        """Return how many requests are due and not sent, as the user waits for an answer; 0 of one that is free."""
        return int((now - self.due) // self._between) if self._is_waiting and now >= self.due else 0
