"""When requests are due. Pure: times are seconds after the start of a run."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple


class Schedule(NamedTuple):
    """An open schedule: `rate` requests a second after `ramp_seconds`, in which the rate rises from 0 in a line.

    Requests are due whether or not earlier ones were answered.
    """

    rate: float
    ramp_seconds: float = 0.0

    def due(self, number: int) -> float:
        """Return when the request of this number, from 0 on, is due."""
        in_ramp = self.rate * self.ramp_seconds / 2
        if number < in_ramp:
            return sqrt(2 * number * self.ramp_seconds / self.rate)
        return self.ramp_seconds + (number - in_ramp) / self.rate

    def count(self, seconds: float) -> int:
        """Return how many requests are due before this time."""
        in_ramp = min(seconds, self.ramp_seconds)
        before = self.rate * in_ramp * in_ramp / (2 * self.ramp_seconds) if self.ramp_seconds else 0.0
        whole = before + self.rate * (seconds - in_ramp)
        return int(whole) + (whole > int(whole))


class Pacer:
    """The requests of one of `of` senders that share a schedule: its `index`th and every `of`th after it."""

    def __init__(self, schedule: Schedule, index: int, of: int, end: float, limit: int | None = None) -> None:
        self._schedule = schedule
        self._number, self._step = index, of
        self._end, self._limit = end, limit
        self.next_due = self._due()

    def take(self, now: float) -> float | None:
        """Return when a request was due if one is due now; each is returned once."""
        due = self.next_due
        if due is None or due > now:
            return None
        self._number += self._step
        self.next_due = self._due()
        return due

    def _due(self) -> float | None:
        """Return when the next request is due, None if none is before the end."""
        if self._limit is not None and self._number >= self._limit:
            return None
        due = self._schedule.due(self._number)
        return due if due < self._end else None
