"""Trials of a setting such as a batch size: a neighbour is tried beside the present value, and stays if it helps. Pure.

A trial has 10 pairs of blocks: 4 observations with the present value and 4 with the other, in turns and in changing
order, so that load which rises or falls meanwhile meets both. The other value helps if its rate (items a second) is
higher in at least 9 pairs, and by 5 % in the median pair. Values that are equal pass by chance once in 100 trials.
"""

from __future__ import annotations

from statistics import median

PAIRS = 10
BLOCK = 4
PAIRS_BETTER_MIN = 9
GAIN_MIN = 1.05
# Both neighbours were no better: what is measured may change later, so they are tried again.
REST = 1000


class Search:
    """The value of a setting within bounds, and the trial that runs. `value` is to be used for the next work."""

    def __init__(self, initial: int, least: int, most: int, factor: float = 2.0) -> None:
        if not 1 <= least <= initial <= most:
            raise ValueError(f"the bounds {least!r} and {most!r} do not enclose {initial!r}, or are below 1")
        if not factor > 1:
            raise ValueError(f"factor is a number above 1, not {factor!r}")
        self._least, self._most, self._factor = least, most, factor
        self.kept = self.value = initial
        self.accepted = self.taken_back = 0
        self._upwards = True
        self._failed = 0
        self._rest = 0
        self._candidate = initial
        self._begin()

    @property
    def is_settled(self) -> bool:
        """Return whether both neighbours of the value were no better."""
        return self._rest > 0

    def observe(self, items: float, seconds: float) -> None:
        """Take an observation made with `value`."""
        if self._rest:
            self._rest -= 1
            if not self._rest:
                self._failed = 0
                self._begin()
            return
        if self._candidate == self.kept:
            self._turn_round()
            return
        self._items += items
        self._seconds += seconds
        self._number += 1
        if self._number == BLOCK:
            self._end_block()

    def _begin(self) -> None:
        """Begin a trial with the neighbour in the present direction."""
        moved = self.kept * self._factor if self._upwards else self.kept / self._factor
        stepped = max(self.kept + 1, round(moved)) if self._upwards else min(self.kept - 1, round(moved))
        self._candidate = max(self._least, min(self._most, stepped))
        self._rates: list[tuple[float, float]] = []
        self._first: float | None = None
        self._begin_block()

    def _begin_block(self) -> None:
        self._items = self._seconds = 0.0
        self._number = 0
        # Pairs begin with either value by turns.
        is_candidate = (self._first is None) == (len(self._rates) % 2 == 1)
        self.value = self._candidate if is_candidate else self.kept

    def _end_block(self) -> None:
        rate = self._items / self._seconds if self._seconds else 0.0
        if self._first is None:
            self._first = rate
        else:
            self._rates.append((self._first, rate) if len(self._rates) % 2 == 0 else (rate, self._first))
            self._first = None
        if len(self._rates) == PAIRS:
            self._decide()
        else:
            self._begin_block()

    def _decide(self) -> None:
        if helps(self._rates):
            self.kept, self._failed = self._candidate, 0
            self.accepted += 1
            self._begin()
        else:
            self.taken_back += 1
            self._turn_round()

    def _turn_round(self) -> None:
        self._failed += 1
        self._upwards = not self._upwards
        if self._failed >= 2:
            self._rest, self.value = REST, self.kept
        else:
            self._begin()


def helps(rates: list[tuple[float, float]]) -> bool:
    """Return whether the second of each pair of rates is higher often enough, and by enough."""
    better = sum([other > present for present, other in rates])
    gains = [other / present if present else 1.0 for present, other in rates]
    return better >= PAIRS_BETTER_MIN and median(gains) >= GAIN_MIN
