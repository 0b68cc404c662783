"""Feeds whose batches the native core counts. Pure.

Its `Tally` does for each batch what `Feed` and the analyzers do in the reference. What happens once a second, or is
rare, is Python's, and reads the tally.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from exporter.analyzers import Analyzer
from exporter.analyzers.completeness import Completeness
from exporter.analyzers.freshness import INTERVAL_BOUNDS_MS, Freshness
from exporter.analyzers.latency import LATENCY_BOUNDS_MS, Latency
from exporter.analyzers.message_age import AGE_BOUNDS_MS, MessageAge
from exporter.analyzers.quality import Quality
from exporter.analyzers.spread import SPREAD_BOUNDS, Spread
from exporter.analyzers.symbol_states import ANOMALIES
from exporter.core import native
from exporter.decoding.batch import NO_JSON
from exporter.decoding.contents import expects_prices
from exporter.feeds.feed import COUNT_BOUNDS, EFFICIENCY_BOUNDS, Feed
from exporter.feeds.feed_analyzers import FeedAnalyzers, as_replay
from exporter.feeds.health import FeedHealth, HealthSettings
from exporter.feeds.tally_views import (
    EFFICIENCIES,
    SIZES,
    UNIQUES,
    TallyFreshness,
    TallyLatency,
    TallyMessageAge,
    TallyQuality,
    TallySpread,
    shown_of,
)
from exporter.model import Anomaly, Arrival, BatchResult, FeedKey, Partition

if TYPE_CHECKING:
    from exporter.config.schema import Config, Thresholds
    from exporter.decoding.batch_stats import BatchStats

_VIEWS: dict[type[Analyzer], type[Any]] = {
    Latency: TallyLatency,
    MessageAge: TallyMessageAge,
    Freshness: TallyFreshness,
    Quality: TallyQuality,
    Spread: TallySpread,
}
# What a tally finds, as bits; the last five are no anomalies.
CONTENTS = {
    **ANOMALIES,
    64: Anomaly.SIZE_MISMATCH,
    128: Anomaly.IMPLAUSIBLE_STAMP,
    256: Anomaly.FUTURE_BATCH,
    512: Anomaly.BATCH_TIME_BACKWARDS,
    1024: Anomaly.FUTURE_MESSAGE,
    2048: Anomaly.UNCHANGED_BATCH,
    16384: Anomaly.CROSSED_BOOK,
}
COMPLETENESS = {4096: Anomaly.NO_PRICES, 8192: Anomaly.NO_STAMPS}
_UNKNOWN, _LATE, _OPEN, _REPLAY, _FULL = (1 << bit for bit in range(16, 21))


@cache
def _bounds() -> Any:
    """Return the bounds of the histograms of all feeds, as the core has them."""
    times = (AGE_BOUNDS_MS, INTERVAL_BOUNDS_MS, LATENCY_BOUNDS_MS)
    return native("native").Bounds(COUNT_BOUNDS, EFFICIENCY_BOUNDS, *times, SPREAD_BOUNDS)


class TallyAnalyzers(FeedAnalyzers):
    """The analyzers of a feed with a tally, which observes each batch; what it leaves to Python is done here."""

    __slots__ = ("_expects_prices", "_kinds", "_others", "tally")

    freshness: TallyFreshness
    quality: TallyQuality

    def __init__(self, config: Config, rule: Thresholds, request_type: str) -> None:
        limit, late_ms = config.input.limits.symbols_per_feed, round(config.input.live_age * 1000)
        self.tally = native("native").Tally(_bounds(), late_ms, limit, NO_JSON)
        self._expects_prices = expects_prices(request_type)
        self._kinds: dict[int, tuple[Anomaly, ...]] = {}
        super().__init__(config, rule)
        self._watermark = self.tally
        self._others = tuple([each for each in self._of_batches if not isinstance(each, tuple(_VIEWS))])
        self._let_python_find(config)

    def __iter__(self) -> Iterator[Analyzer]:
        if self.tally.has_books and self._book_kinds and not self._of_order_books:
            self._created_for_books()
        return super().__iter__()

    def _let_python_find(self, config: Config) -> None:
        has_others = bool(self._others) or any(kind not in _VIEWS for kind in self._book_kinds)
        self.tally.finds_more = has_others or config.feeds.find_duplicates

    def _created(self, kinds: Iterable[type[Analyzer]], config: Config, rule: Thresholds) -> tuple[Analyzer, ...]:
        found: list[Analyzer] = [_VIEWS[kind](self.tally, config, rule) for kind in kinds if kind in _VIEWS]
        others = super()._created([kind for kind in kinds if kind not in (*_VIEWS, Completeness)], config, rule)
        return (*found, *others)

    def reconfigure(self, config: Config, rule: Thresholds) -> None:
        """See FeedAnalyzers."""
        super().reconfigure(config, rule)
        self._kinds.clear()
        self._let_python_find(config)

    def set_back(self, now_ms: int) -> None:
        """See FeedAnalyzers."""
        super().set_back(now_ms)
        self.tally.set_back(now_ms)

    def conclude(self, found: int, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """Do for a counted batch what the tally has not done; return the anomalies, also those it has `found`."""
        if found & _REPLAY:
            arrival = as_replay(stats, arrival)
        if found & _FULL:
            self.freshness.learn()
        quality = self.quality
        if found & _OPEN:
            quality.observe_rest(stats, arrival)
            found |= self.tally.conclude(quality.has_moved)
        anomalies = [*self.kinds(found), *quality.found_more(stats)]
        for each in self._others:
            anomalies += each.observe(stats.batch, stats, arrival)
        return (*anomalies, *self._observe_books(stats, arrival))

    def kinds(self, found: int) -> tuple[Anomaly, ...]:
        """Return the anomalies among what a tally has found, without those that are ignored."""
        if (kinds := self._kinds.get(found)) is None:
            ignored = {*self._rule.ignore_anomalies, *(() if self._expects_prices else (Anomaly.NO_PRICES,))}
            bits = {**COMPLETENESS, **CONTENTS}.items()
            kinds = self._kinds[found] = tuple([kind for bit, kind in bits if found & bit and kind not in ignored])
        return kinds


class NativeFeed(Feed):
    """A feed with a tally of the native core."""

    analyzers: TallyAnalyzers

    def _begin_counting(self) -> None:
        tally = self.tally = self.analyzers.tally
        self.sizes = shown_of(self.sizes, tally, SIZES)
        self.uniques = shown_of(self.uniques, tally, UNIQUES)
        self.efficiencies = shown_of(self.efficiencies, tally, EFFICIENCIES)
        self.new_window = native("native").Window

    def touch(self) -> None:
        """See Feed."""
        self.tally.version += 1

    def count(
        self, stats: BatchStats, arrival: Arrival, place: tuple[Partition, int], *, is_admitted: bool = True
    ) -> bool:
        """See Feed."""
        times = arrival.record_ms, arrival.received_ms, arrival.is_live
        found = self.tally.count(stats, times, is_admitted, None)
        if found & _UNKNOWN:
            return False
        if found & _LATE:
            patience_ms = self.analyzers.freshness.silent_limit_ms
            found = self.tally.count(stats, times, is_admitted, patience_ms)
        if found or self.tally.finds_more:
            for kind in self.analyzers.conclude(found, stats, arrival):
                self._note(kind, place, arrival.received_ms)
        return True

    def note(self, found: int, place: tuple[Partition, int], now_ms: int) -> None:
        """Count the anomalies that the tally has found in a plain batch."""
        for kind in self.analyzers.kinds(found):
            self._note(kind, place, now_ms)

    def remember(self, stats: BatchStats, sent_ms: int, *, is_admitted: bool = True) -> bool:
        """See Feed."""
        is_known: bool = self.tally.remember(stats, sent_ms, is_admitted)
        return is_known

    @property
    def version(self) -> int:  # type: ignore[override]
        """See Feed."""
        number: int = self.tally.version
        return number

    @property
    def counted_ms(self) -> int:  # type: ignore[override]
        """See Feed."""
        time_ms: int = self.tally.counted_ms
        return time_ms

    @property
    def batches(self) -> int:  # type: ignore[override]
        """See Feed."""
        number: int = self.tally.batches
        return number

    @property
    def messages(self) -> int:  # type: ignore[override]
        """See Feed."""
        number: int = self.tally.messages
        return number

    @property
    def last(self) -> BatchResult | None:  # type: ignore[override]
        """See Feed."""
        found = self.tally.last
        return None if found is None else BatchResult(*found)

    @property
    def last_batch_ms(self) -> int:  # type: ignore[override]
        """See Feed."""
        time_ms: int = self.tally.last_batch_ms
        return time_ms

    @property
    def last_message_ms(self) -> int:  # type: ignore[override]
        """See Feed."""
        time_ms: int = self.tally.last_message_ms
        return time_ms

    @property
    def last_received_ms(self) -> int:  # type: ignore[override]
        """See Feed."""
        time_ms: int = self.tally.last_received_ms
        return time_ms

    @property
    def symbol_count(self) -> int:
        """See Feed."""
        return len(self.tally)

    def unknown(self, symbols: set[str]) -> set[str]:
        """See Feed."""
        new: set[str] = self.tally.unknown(symbols)
        return new

    @property
    def symbol_messages(self) -> dict[str, int]:  # type: ignore[override]
        """See Feed; a new object each time."""
        messages: dict[str, int] = self.tally.symbol_messages()
        return messages

    @property
    def symbol_seen_ms(self) -> dict[str, int]:  # type: ignore[override]
        """See Feed; a new object each time."""
        seen_ms: dict[str, int] = self.tally.seen()
        return seen_ms

    def _set_counting_back(self, now_ms: int) -> None:
        """See Feed; the analyzers set back all times of the tally."""

    def _forget(self, symbols: Iterable[str]) -> None:
        self.analyzers.forget_symbols(symbols)


def new_feed(key: FeedKey, settings: HealthSettings) -> Feed:
    """Return a feed; its batches are counted by the native core where that is used, if all histograms are classic."""
    config, rule = settings.config, settings.rule
    if config.metrics.histograms != "classic" or native(config.input.core) is None:
        return Feed(key, FeedHealth(settings))
    return NativeFeed(key, FeedHealth(settings, TallyAnalyzers(config, rule, key.request_type)))
