"""The last update of the rate of each currency, and the invalidations of caches by type. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from exporter.ingestion.view.rounds import moment_ms
from exporter.model import Arrival

# A currency without an update for so long makes room for another.
FORGOTTEN_MS = 86_400_000
LONGEST_NAME = 64
OTHER = "other"
TYPES = 20
INVALIDATIONS_KEPT = 128


class Rate(NamedTuple):
    """The last update of one currency: by the clock of its source, and the same but no later than it was sent.

    `partition` is the number of the one that it was read from.
    """

    stamp_ms: int
    updated_ms: int
    partition: int = 0


class Update(Enum):
    """What an update is beside the one before it."""

    NEWER = "newer"
    REPEATED = "repeated"
    OUTDATED = "outdated"
    OVERFLOW = "overflow"


class Rates:
    """The last updates of at most `limit` currencies."""

    __slots__ = ("_limit", "known")

    def __init__(self, limit: int) -> None:
        self.known: dict[str, Rate] = {}
        self._limit = limit

    def update(self, currency: str, stamp_ms: int, arrival: Arrival, partition: int = 0) -> Update:
        """Take an update, unless it is older than the known one or has no room, and return what it is."""
        known = self.known.get(currency)
        if known is None and not self._has_room(currency, arrival.received_ms):
            return Update.OVERFLOW
        if known is not None and stamp_ms == known.stamp_ms:
            return Update.REPEATED
        if known is not None and stamp_ms < _least_ms(known, stamp_ms, arrival):
            return Update.OUTDATED
        self.known[currency] = Rate(stamp_ms, min(stamp_ms, moment_ms(arrival)), partition)
        return Update.NEWER

    def release(self, partition: int) -> None:
        """Forget the rates of a partition, which another member reads."""
        self.known = {currency: rate for currency, rate in self.known.items() if rate.partition != partition}

    def set_back(self, now_ms: int) -> None:
        """Let no update be later than now: the clock was set back."""
        for currency, rate in self.known.items():
            self.known[currency] = rate._replace(updated_ms=min(rate.updated_ms, now_ms))

    def _has_room(self, currency: str, now_ms: int) -> bool:
        if len(currency) > LONGEST_NAME:
            return False
        if len(self.known) < self._limit:
            return True
        oldest = min(self.known, key=lambda each: self.known[each].updated_ms)
        if now_ms - self.known[oldest].updated_ms < FORGOTTEN_MS:
            return False
        del self.known[oldest]
        return True


def _least_ms(known: Rate, stamp_ms: int, arrival: Arrival) -> int:
    """Return the stamp that an update must have to be newer.

    After a clock that was ahead is right again, its stamps are compared with when those from the future were sent.
    """
    return known.stamp_ms if stamp_ms > moment_ms(arrival) else known.updated_ms


class Invalidations:
    """The numbers of invalidations and of the keys they name, by type; types beyond the limit are one, `other`."""

    __slots__ = ("_recent", "keys", "numbers", "overflow")

    def __init__(self) -> None:
        self.numbers: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()
        self.overflow = 0
        self._recent: dict[int, None] = {}

    def add(self, kind: str, keys: Sequence[str], stamp_ms: int, *, is_new: bool = True) -> bool:
        """Count an invalidation; return False if it is one of the last ones again. What is not new is not counted."""
        place = hash((kind, stamp_ms, tuple(keys)))
        if place in self._recent:
            return False
        self._recent[place] = None
        if len(self._recent) > INVALIDATIONS_KEPT:
            del self._recent[next(iter(self._recent))]
        if is_new:
            shown = self._shown(kind)
            self.numbers[shown] += 1
            self.keys[shown] += len(keys)
        return True

    def _shown(self, kind: str) -> str:
        if kind in self.numbers or (len(self.numbers) < TYPES and len(kind) <= LONGEST_NAME):
            return kind
        self.overflow += 1
        return OTHER
