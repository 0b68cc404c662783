"""All sources, rates and invalidations that the ingestion events show. Pure."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from exporter.ingestion.events import (
    EVENTS,
    CacheInvalidation,
    DataProcessingCompleted,
    Event,
    ExchangeRateUpdated,
    NewDataReceived,
    topic_of,
    updated_at_ms,
)
from exporter.ingestion.view.rates import FORGOTTEN_MS, LONGEST_NAME, Invalidations, Rates, Update
from exporter.ingestion.view.rounds import DURATION, DURATION_BOUNDS, moment_ms
from exporter.ingestion.view.source import IngestionSource
from exporter.ingestion.view.usual import UNLEARNED_MS
from exporter.instrument.selection import ALL, Selection
from exporter.model import Arrival

# Evaluations are a second apart. After a longer pause, events that were sent meanwhile may not be read yet.
PAUSE_MS = 3_000


class ViewLimits(NamedTuple):
    """The numbers that are kept: sources, open rounds of each, and currencies."""

    sources: int = 50
    rounds: int = 100
    currencies: int = 300


class OverdueRound(NamedTuple):
    """A round that has just become overdue; its usual duration is None while too few are known."""

    source: str
    correlation_id: str
    age_ms: int
    usual_ms: int | None


class IngestionView:
    """What the events of ingesting services show, counted from `now_ms` on.

    `has_rounds`: the topics of rounds are read here, so that the states of sources are known. A rate is
    old from an age of `rate_limit_ms` on.

    Each event comes with the arrival of its record, which is live when it was read at the end of its partition. One
    that is not new was counted before, and only completes what is known. `events` and `repeated` are counted by topic,
    `overflow` by label.
    """

    def __init__(
        self, limits: ViewLimits, now_ms: int, families: Selection = ALL, rate_limit_ms: int = 3_600_000
    ) -> None:
        self.sources: dict[str, IngestionSource] = {}
        self.rates = Rates(limits.currencies)
        self.invalidations = Invalidations()
        self.events: Counter[str] = Counter(dict.fromkeys(EVENTS, 0))
        self.repeated: Counter[str] = Counter(dict.fromkeys(self.events, 0))
        self.overflow: Counter[str] = Counter(source=0, currency=0)
        self.has_rounds = True
        self.rate_limit_ms = rate_limit_ms
        self._limits = limits
        self._families = families
        self._ends_from_ms = 0
        self._listening_since_ms = now_ms
        self._certain_from_ms = now_ms + UNLEARNED_MS
        self._evaluated_ms = now_ms

    def assigned(self, now_ms: int) -> None:
        """Restart the grace periods: reading a partition began, so beginnings may lie before its position."""
        self._listening_since_ms, self._certain_from_ms = now_ms, now_ms + UNLEARNED_MS

    def ends_from(self, arrival: Arrival) -> None:
        """Note that of the ends of rounds none is read that arrived before this one."""
        self._ends_from_ms = max(self._ends_from_ms, moment_ms(arrival))
        for source in self.sources.values():
            source.rounds.forget_until(self._ends_from_ms)

    def release_rounds(self) -> None:
        """Forget all of the sources but what was counted: another member reads the rounds."""
        self._ends_from_ms = 0
        for source in self.sources.values():
            source.release()

    def apply(self, event: Event, arrival: Arrival, *, is_new: bool = True, partition: int = 0) -> None:
        """Apply one event of a partition of its topic.

        Only a new one is counted: a repetition of it by its sender counts as repeated, too.
        """
        stamp_ms, topic = updated_at_ms(event), topic_of(event)
        self.events[topic] += is_new
        match event:
            case NewDataReceived() | DataProcessingCompleted():
                is_first = self._apply_round(event, stamp_ms, arrival, is_new)
            case ExchangeRateUpdated():
                is_first = self._apply_rate(event, stamp_ms, arrival, is_new, partition)
            case CacheInvalidation(cache_keys=keys, invalidation_type=kind):
                is_first = self.invalidations.add(kind, keys, stamp_ms, is_new=is_new)
        self.repeated[topic] += is_new and not is_first

    def evaluate(self, now_ms: int, obstacle: str = "") -> list[OverdueRound]:
        """Evaluate all sources, once a second; return the rounds that are overdue since the last evaluation.

        `obstacle` is why the topics cannot be read now, in words, and empty while they are.
        """
        if now_ms < self._evaluated_ms:
            self._set_back(now_ms)
        if obstacle or now_ms - self._evaluated_ms > PAUSE_MS:
            self._listening_since_ms = now_ms
        self._evaluated_ms = now_ms
        return [
            OverdueRound(name, each.correlation_id, each.age_ms(now_ms), source.rounds.usual.value_ms)
            for name, source in self.sources.items()
            for each in source.evaluate(now_ms, self._listening_since_ms, self._certain_from_ms, obstacle)
        ]

    def _apply_round(
        self, event: NewDataReceived | DataProcessingCompleted, stamp_ms: int, arrival: Arrival, is_new: bool
    ) -> bool:
        """Begin or complete a round; return False if that is repeated."""
        if (source := self._seen(event.source, arrival, is_new)) is None:
            return True
        if isinstance(event, NewDataReceived):
            is_first = source.begin(event.correlation_id, event.data_count, arrival, is_new=is_new)
        else:
            is_first = source.rounds.complete(event.correlation_id, event.total_processed, arrival, is_new=is_new)
        if is_first and is_new:
            source.compare_clock(stamp_ms, arrival)
        return is_first

    def _apply_rate(
        self, event: ExchangeRateUpdated, stamp_ms: int, arrival: Arrival, is_new: bool, partition: int
    ) -> bool:
        """Update a rate; return False if the update is repeated."""
        source = self._seen(event.source, arrival, is_new)
        outcome = self.rates.update(event.currency_code, stamp_ms, arrival, partition)
        self.overflow["currency"] += is_new and outcome is Update.OVERFLOW
        if source is not None and is_new:
            source.updates += outcome is Update.NEWER
            source.outdated += outcome is Update.OUTDATED
        return outcome is not Update.REPEATED

    def _seen(self, name: str, arrival: Arrival, is_new: bool) -> IngestionSource | None:
        """Return the source of an event; None when there is no room for it."""
        source = self.sources.get(name)
        if source is None:
            if not self._has_room(name, arrival.received_ms):
                self.overflow["source"] += is_new
                return None
            durations = self._families.own_histogram(DURATION, DURATION_BOUNDS)
            source = self.sources[name] = IngestionSource(self._limits.rounds, durations)
            source.rounds.forget_until(self._ends_from_ms)
        source.see(arrival)
        return source

    def _has_room(self, name: str, now_ms: int) -> bool:
        if len(name) > LONGEST_NAME:
            return False
        if len(self.sources) < self._limits.sources:
            return True
        quietest = min(self.sources, key=lambda each: self.sources[each].last_event_ms)
        if now_ms - self.sources[quietest].last_event_ms < FORGOTTEN_MS:
            return False
        del self.sources[quietest]
        return True

    def _set_back(self, now_ms: int) -> None:
        self._listening_since_ms = min(self._listening_since_ms, now_ms)
        self._certain_from_ms = min(self._certain_from_ms, now_ms + UNLEARNED_MS)
        self.rates.set_back(now_ms)
        for source in self.sources.values():
            source.set_back(now_ms)
