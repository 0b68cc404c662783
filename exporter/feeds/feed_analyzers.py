"""The analyzers of one feed, and whether it sends new data or replays old data, which they treat differently. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from exporter.analyzers import Analyzer, used
from exporter.analyzers.freshness import Freshness
from exporter.analyzers.quality import Quality
from exporter.instrument.selection import selection
from exporter.model import Anomaly, Arrival

if TYPE_CHECKING:
    from exporter.config.schema import Config, Thresholds
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats

A = TypeVar("A", bound=Analyzer)


class FeedAnalyzers:
    """All analyzers of one feed: iterating yields them. `config` is the configuration in force."""

    __slots__ = (
        "_book_kinds",
        "_of_batches",
        "_of_order_books",
        "_rule",
        "_watermark",
        "config",
        "freshness",
        "quality",
    )

    def __init__(self, config: Config, rule: Thresholds) -> None:
        shown = selection(config.metrics)
        kinds, self._book_kinds = (used(shown, needs_order_books=of_books) for of_books in (False, True))
        self._of_batches = self._created(kinds, config, rule)
        self._of_order_books: tuple[Analyzer, ...] = ()
        self._watermark = EventTimeWatermark(round(config.input.live_age * 1000))
        self.config = config
        self._rule = rule
        self.freshness = self.get(Freshness)
        self.quality = self.get(Quality)

    def _created(self, kinds: Iterable[type[Analyzer]], config: Config, rule: Thresholds) -> tuple[Analyzer, ...]:
        return tuple([kind.create(config, rule) for kind in kinds])

    def __iter__(self) -> Iterator[Analyzer]:
        return iter((*self._of_batches, *self._of_order_books))

    def find(self, kind: type[A]) -> A | None:
        """Return the analyzer of this class, None while the feed has none."""
        for each in self:
            if isinstance(each, kind):
                return each
        return None

    def get(self, kind: type[A]) -> A:
        """Return the analyzer of this class; raise LookupError when the feed has none."""
        found = self.find(kind)
        if found is None:
            raise LookupError(kind)
        return found

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> tuple[Arrival, Sequence[Anomaly]]:
        """Take one counted batch into account, and return the anomalies in it.

        The arrival that is returned is that of old data when the batch replays the past.
        """
        event_time_ms = stats.newest or batch.timestamp_ms
        if not self._watermark.is_on_time(event_time_ms, arrival.received_ms) and self._is_late(
            event_time_ms, batch, stats, arrival
        ):
            arrival = as_replay(stats, arrival)
        anomalies: Sequence[Anomaly] = ()
        for analyzer in self._of_batches:
            if found := analyzer.observe(batch, stats, arrival):
                anomalies = (*anomalies, *found)
        return arrival, (*anomalies, *self._observe_books(stats, arrival)) if stats.books else anomalies

    def _observe_books(self, stats: BatchStats, arrival: Arrival) -> Iterable[Anomaly]:
        if stats.books and self._book_kinds:
            for analyzer in self._of_order_books or self._created_for_books():
                yield from analyzer.observe(stats.batch, stats, arrival)

    def _created_for_books(self) -> tuple[Analyzer, ...]:
        """Create the analyzers of order books, with the first one."""
        self._of_order_books = self._created(self._book_kinds, self.config, self._rule)
        return self._of_order_books

    def _is_late(self, event_time_ms: float, batch: Batch, stats: BatchStats, arrival: Arrival) -> bool:
        """Whether a batch replays the past; else its symbols are merely quiet, or the feed turns back."""
        if stats.stamped and not self.quality.knows_newer(stats):
            return False
        return not self._watermark.turns_back(event_time_ms, arrival.received_ms, self.freshness.silent_limit_ms)

    def reconfigure(self, config: Config, rule: Thresholds) -> None:
        """Put other settings in force; what is counted and learned stays."""
        for analyzer in self:
            analyzer.reconfigure(config, rule)
        self._watermark.allow(round(config.input.live_age * 1000))
        self.config, self._rule = config, rule

    def forget_symbols(self, symbols: Iterable[str]) -> None:
        """Forget symbols, to make room for others."""
        for analyzer in self:
            analyzer.forget_symbols(symbols)

    def set_back(self, now_ms: int) -> None:
        """Let no time be later than `now_ms`: the clock was set back."""
        for analyzer in self:
            analyzer.set_back(now_ms)

    def release(self) -> None:
        """Forget what holds at present: from now on the feed is read elsewhere."""
        for analyzer in self:
            analyzer.release()


def as_replay(stats: BatchStats, arrival: Arrival) -> Arrival:
    """Return the arrival of a batch that repeats the past: it was recorded no later than its data are from."""
    event_time_ms = stats.newest or stats.batch.timestamp_ms
    recorded_ms = min(arrival.record_ms or event_time_ms, event_time_ms)
    return Arrival(int(recorded_ms), arrival.received_ms, is_live=False, is_replay=True)


class EventTimeWatermark:
    """Event-time watermark of one feed: separates new data from a replay; all times are Unix milliseconds.

    Data from more than `late_ms` before the newest event time is late: a replay, as long as new data comes beside it.
    """

    __slots__ = ("_late_ms", "_received_ms", "_watermark_ms")

    def __init__(self, late_ms: int) -> None:
        self._late_ms = late_ms
        self._watermark_ms = 0.0
        self._received_ms = 0

    def allow(self, late_ms: int) -> None:
        """Let data be late by another time from now on."""
        if self._watermark_ms:
            self._watermark_ms += self._late_ms - late_ms
        self._late_ms = late_ms

    def is_on_time(self, event_time_ms: float, received_ms: int) -> bool:
        """Whether data of this event time, received now, is not late; then it may raise the watermark."""
        if event_time_ms < self._watermark_ms:
            return False
        self._received_ms = received_ms
        # A timestamp in the future makes no other data late.
        late_to_ms = (event_time_ms if event_time_ms < received_ms else received_ms) - self._late_ms
        if late_to_ms > self._watermark_ms:
            self._watermark_ms = late_to_ms
        return True

    def turns_back(self, event_time_ms: float, received_ms: int, patience_ms: int) -> bool:
        """Whether no new data came for longer than `patience_ms`: then the late data is all there is, and the newest.

        Immediately when the sidecar's clock was set back.
        """
        if 0 <= received_ms - self._received_ms <= max(patience_ms, self._late_ms):
            return False
        self._watermark_ms = min(event_time_ms, received_ms) - self._late_ms
        self._received_ms = received_ms
        return True
