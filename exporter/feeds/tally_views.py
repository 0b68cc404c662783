"""What the analyzers of a feed show of the native core's `Tally`, which counts its batches. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from exporter.analyzers.freshness import Freshness
from exporter.analyzers.latency import Hop, Latency, Stage
from exporter.analyzers.message_age import MessageAge
from exporter.analyzers.order_books import OrderBooks
from exporter.analyzers.quality import Quality
from exporter.analyzers.spread import Spread
from exporter.analyzers.thresholds import PACE_INTERVALS, AdaptiveThreshold, silence_policy
from exporter.decoding.batch import FIELDS, PartialBatch
from exporter.instrument.histogram import Histogram
from exporter.instrument.selection import selection
from exporter.model import Anomaly

if TYPE_CHECKING:
    from exporter.config.schema import Config, Thresholds
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats
    from exporter.model import Arrival

# The numbers of a tally's histograms; four stages begin with the first of them.
SIZES, UNIQUES, EFFICIENCIES, AGES, INTERVALS, FIRST_STAGE = range(6)
SPREADS = 9


class TallyHistogram(Histogram):
    """A histogram of a tally, like `model`, which has the classic buckets."""

    __slots__ = ("_number", "_tally")

    def __init__(self, model: Histogram, tally: Any, number: int) -> None:
        self.bounds = model.bounds
        self.native = None
        self._tally = tally
        self._number = number

    @property
    def buckets(self) -> list[int]:  # type: ignore[override]
        """The counts by bucket."""
        counts: list[int] = self._tally.counts(self._number)
        return counts

    @property
    def sum(self) -> float:  # type: ignore[override]
        """The sum of the values, in the unit of the bounds."""
        total: float = self._tally.total(self._number)
        return total


def shown_of(model: Histogram | None, tally: Any, number: int) -> TallyHistogram | None:
    """Return the histogram of a tally, None where it is not shown."""
    return None if model is None else TallyHistogram(model, tally, number)


class TallyHop(TallyHistogram):
    """The durations of one stage in a tally; it has what a `Hop` has."""

    __slots__ = ("_is_shown", "_stage")

    def __init__(self, model: Hop, tally: Any, stage: int) -> None:
        super().__init__(model, tally, FIRST_STAGE + stage)
        self._is_shown = model.histogram is not None
        self._stage = stage

    @property
    def histogram(self) -> Histogram | None:
        """The histogram, None where it is not shown."""
        return self if self._is_shown else None

    @property
    def skewed(self) -> int:
        """How many durations are negative."""
        number: int = self._tally.skewed(self._stage)
        return number

    @property
    def skew_seconds(self) -> float:
        """See Hop."""
        skew_ms: int = self._tally.skew_ms(self._stage)
        return skew_ms / 1000


class TallyLatency(Latency):
    """The stages of a feed, of its tally."""

    __slots__ = ("_tally",)

    def __init__(self, tally: Any, config: Config, rule: Thresholds) -> None:
        models = Latency(selection(config.metrics)).hops
        hops = {stage: TallyHop(models[stage], tally, number) for number, stage in enumerate(Stage)}
        self.hops = cast("dict[Stage, Hop]", hops)
        self._tally = tally

    @property
    def catch_up(self) -> int:  # type: ignore[override]
        """The batches that were not live."""
        number: int = self._tally.catch_up
        return number

    @property
    def skipped(self) -> int:  # type: ignore[override]
        """The timestamps that cannot be times."""
        number: int = self._tally.skipped
        return number


class TallyMessageAge(MessageAge):
    """The ages of the messages of a feed, of its tally."""

    __slots__ = ("_tally",)

    def __init__(self, tally: Any, config: Config, rule: Thresholds) -> None:
        self.histogram = shown_of(MessageAge(selection(config.metrics)).histogram, tally, AGES)
        self._tally = tally

    @property
    def newer(self) -> int:  # type: ignore[override]
        """The messages that are newer than their batch."""
        number: int = self._tally.newer
        return number


class TallyFreshness(Freshness):
    """When a feed sent, by its tally; intervals are learned when the limit is asked for, which batches seldom do."""

    __slots__ = ("_learned", "_tally")

    def __init__(self, tally: Any, config: Config, rule: Thresholds) -> None:
        policy = silence_policy(rule)
        self.intervals = shown_of(Freshness(policy, selection(config.metrics)).intervals, tally, INTERVALS)
        self.pace_ms = None
        self._tally = tally
        self._last_intervals = deque(maxlen=PACE_INTERVALS)
        self._learned = AdaptiveThreshold(policy)

    def learn(self) -> None:
        """Learn the intervals that wait."""
        intervals: list[int] = self._tally.take_intervals()
        if intervals:
            self._last_intervals.extend(intervals[-PACE_INTERVALS:])
            self._learned.learn_all(intervals)

    @property
    def _limit(self) -> AdaptiveThreshold:  # type: ignore[override]
        self.learn()
        return self._learned

    def release(self) -> None:
        """See Analyzer."""
        self.learn()
        super().release()

    def set_back(self, now_ms: int) -> None:
        """See Analyzer; the tally has the times."""

    @property
    def last_sent_ms(self) -> int:
        """See Freshness."""
        time_ms: int = self._tally.last_sent_ms
        return time_ms

    @last_sent_ms.setter
    def last_sent_ms(self, time_ms: int) -> None:
        self._tally.last_sent_ms = time_ms

    @property
    def last_arrival_ms(self) -> int:
        """See Freshness."""
        time_ms: int = self._tally.last_arrival_ms
        return time_ms

    @last_arrival_ms.setter
    def last_arrival_ms(self, time_ms: int) -> None:
        self._tally.last_arrival_ms = time_ms

    @property
    def _record_ms(self) -> int:
        time_ms: int = self._tally.record_ms
        return time_ms

    @_record_ms.setter
    def _record_ms(self, time_ms: int) -> None:
        self._tally.record_ms = time_ms


class TallySpread(Spread):
    """The spreads of the order books of a feed, of its tally; those of books that Python reads are added here."""

    __slots__ = ("_tally",)

    def __init__(self, tally: Any, config: Config, rule: Thresholds) -> None:
        self.histogram = shown_of(Spread(selection(config.metrics)).histogram, tally, SPREADS)
        self._tally = tally

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """See Analyzer."""
        for ask, bid in stats.books if arrival.is_live else ():
            if 0 < bid < ask:
                self._tally.add_spread(2 * (ask - bid) / (ask + bid))
        return ()


class TallyBooks(OrderBooks):
    """The order books of a feed that Python reads, because they are unusual; what is known of books is the tally's."""

    __slots__ = ("_tally",)

    def __init__(self, tally: Any) -> None:
        self._tally = tally
        self.read = []

    @property
    def limit(self) -> int:
        """See OrderBooks."""
        limit: int = self._tally.limit
        return limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._tally.limit = limit

    @property
    def _turn(self) -> int:
        turn: int = self._tally.book_turn
        return turn

    @_turn.setter
    def _turn(self, turn: int) -> None:
        self._tally.book_turn = turn

    @property
    def _whole(self) -> float:
        number: float = self._tally.whole_books
        return number

    @_whole.setter
    def _whole(self, number: float) -> None:
        self._tally.whole_books = number

    def _knows(self, symbol: str) -> bool:
        is_known: bool = self._tally.has_book(symbol)
        return is_known

    def _take(self, symbol: str, ask: float, bid: float, found: set[Anomaly]) -> bool:
        moved: bool
        moved, is_crossed, is_read = self._tally.take_book(symbol, ask, bid)
        if is_crossed:
            found.add(Anomaly.CROSSED_BOOK)
        if is_read:
            self.read.append((ask, bid))
        return moved

    def forget(self, symbol: str) -> None:
        """See OrderBooks; the tally forgets it."""


class TallyQuality(Quality):
    """The content of a feed, by its tally, and what that leaves to Python: order books, and unreadable fields."""

    __slots__ = ("_tally",)

    def __init__(self, tally: Any, config: Config, rule: Thresholds) -> None:
        self.unreadable = dict.fromkeys(FIELDS, 0)
        self._ignored = frozenset(rule.ignore_anomalies)
        self._find_duplicates = config.feeds.find_duplicates
        self._symbols = self._tally = tally
        self._books = TallyBooks(tally)
        self._found = set()
        self._moved = False

    @property
    def last_price_change_ms(self) -> int:  # type: ignore[override]
        """See Quality."""
        time_ms: int = self._tally.last_price_change_ms
        return time_ms

    def set_back(self, now_ms: int) -> None:
        """See Analyzer; the tally has the times."""

    def observe_rest(self, stats: BatchStats, arrival: Arrival) -> None:
        """Read the order books and unreadable fields of a batch that the tally has not concluded."""
        batch, books = stats.batch, self._tally.take_books()
        self._moved = False
        if books:
            reader = OrderBooks(self._books.limit) if arrival.is_replay else self._books
            self._moved = reader.examine(books, self._found, self.unreadable)
            stats.books = reader.read
        if isinstance(batch, PartialBatch):
            self._count_unreadable(batch)

    def found_more(self, stats: BatchStats) -> Sequence[Anomaly]:
        """Return the anomalies of a batch that a tally does not find."""
        if self._find_duplicates:
            self._compare_messages(stats.batch.data)
        return self._take() if self._found else ()

    @property
    def has_moved(self) -> bool:
        """Whether the rest of the last batch shows a move of the market."""
        return self._moved
