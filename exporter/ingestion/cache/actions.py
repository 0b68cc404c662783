"""What an event changes in the caches. Pure.

State is a function of the set of events, not of their order: of one rate the newest update is cached unless an
invalidation is as new. A repeated or late event therefore changes nothing, whichever replica handles it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from exporter.ingestion.cache.keys import ANALYSIS, HISTORY, RATE, STATS, Names, names_of
from exporter.ingestion.events import CacheInvalidation, DataProcessingCompleted, Event, ExchangeRateUpdated

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Lifetimes(NamedTuple):
    """Seconds that a key lives after it was written; `seen` is how long a late event is recognized."""

    rate: float = 600.0
    history: float = 900.0
    stats: float = 1800.0
    analysis: float = 3600.0
    seen: float = 3600.0

    def of(self, kind: str) -> int:
        """Return the milliseconds of a kind."""
        seconds = {RATE: self.rate, HISTORY: self.history, STATS: self.stats, ANALYSIS: self.analysis}
        return int(seconds[kind] * 1000)

    @property
    def seen_ms(self) -> int:
        """The milliseconds of what is known about a rate, which outlives the rate."""
        return int(max(self.seen, self.rate) * 1000)


class Write(NamedTuple):
    """Write a rate unless something as new is known, then drop the history of its currency."""

    code: str
    at_us: int
    payload: bytes


class Drop(NamedTuple):
    """Drop keys; of rates those that are not newer than the invalidation."""

    names: Names
    at_us: int


class Refresh(NamedTuple):
    """After a round drop what is derived from all rates, and prolong the rates of its source."""

    source: str
    at_us: int


Action = Write | Drop | Refresh


def action_of(event: Event) -> Action | None:
    """Return what an event changes, None for one that changes nothing."""
    match event:
        case ExchangeRateUpdated():
            return Write(event.currency_code, time_us(event.updated_at), msgspec.json.encode(event))
        case CacheInvalidation():
            return Drop(names_of(event.cache_keys), time_us(event.invalidated_at))
        case DataProcessingCompleted():
            return Refresh(event.source, time_us(event.completed_at))
        case _:
            return None


def time_us(text: str) -> int:
    """Return the Unix microseconds of a time of an event: two updates may share a millisecond."""
    return (datetime.fromisoformat(text.strip().upper()) - _EPOCH) // timedelta(microseconds=1)


def source_of(payload: bytes | str) -> str | None:
    """Return the source of a cached rate, None for what is no rate."""
    try:
        return msgspec.json.decode(payload, type=ExchangeRateUpdated).source
    except msgspec.MsgspecError:
        return None
