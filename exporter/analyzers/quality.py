"""Anomalies in the content of batches, and the time of the last price change.

Each kind is raised at most once for a batch, so its counter counts batches. What is normal on some exchange raises
nothing: ranges of 0 (nothing was traded), rows that are sent again within a second, books that are changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from exporter.analyzers import Analyzer
from exporter.analyzers.order_books import OrderBooks
from exporter.analyzers.symbol_states import ANOMALIES, BACKWARDS_MS, MOVED, symbol_states
from exporter.decoding.batch import FIELDS, MIN_TIMESTAMP_MS, PartialBatch
from exporter.instrument.families import Row, unix_time
from exporter.model import Anomaly, Arrival

if TYPE_CHECKING:
    from exporter.config.schema import Config, Thresholds
    from exporter.core import CoreChoice
    from exporter.decoding.batch import Batch, Message
    from exporter.decoding.batch_stats import BatchStats

MEANINGS = {
    Anomaly.SIZE_MISMATCH: "`batch_size` is not the number of messages",
    Anomaly.UNREADABLE_FIELD: "an optional field cannot be read, and is left out "
    "(`marketdata_unreadable_fields_total`)",
    Anomaly.INVALID_PRICE: "a price is negative, or zero after another",
    Anomaly.INVERTED_RANGE: "`high` is below `low`",
    Anomaly.PRICE_OUT_OF_RANGE: "`last` is outside `low` to `high`, where `high` is not 0",
    Anomaly.PRICE_JUMP: "a price changed by more than 5 % and more than 20 times what is usual for its symbol",
    Anomaly.IMPLAUSIBLE_STAMP: "a timestamp is no Unix time in milliseconds since the year 2000",
    Anomaly.FUTURE_BATCH: "`timestamp_ms` is more than 10 s ahead of the sidecar's clock",
    Anomaly.FUTURE_MESSAGE: "the `timestamp` of a message is more than 10 s ahead of the sidecar's clock",
    Anomaly.BATCH_TIME_BACKWARDS: "`timestamp_ms` is more than 5 s older than in the record before",
    Anomaly.MESSAGE_TIME_BACKWARDS: "the `timestamp` of a message is more than 5 s older than its symbol's last",
    Anomaly.DUPLICATE_MESSAGES: "two tickers of a batch share symbol, timestamp and price (`feeds.find_duplicates`)",
    Anomaly.UNCHANGED_BATCH: "a snapshot has the same messages, timestamps and prices as the one before",
    Anomaly.CROSSED_BOOK: "the best bid of an order book is not below its best ask",
    Anomaly.EMPTY_BOOK: "an order book has a side without levels, on a feed that sends whole books",
}

FUTURE_MS = 10_000
_INFINITY = float("inf")


class Quality(Analyzer):
    """The content of one feed, of at most `limit` symbols.

    `last_price_change_ms` is the time of the last price change or newer trade in Unix milliseconds: of a live batch by
    the sidecar's clock, of an old one by the broker's, like `Freshness.last_sent_ms` with which it is compared; 0:
    none yet. `unreadable` counts the fields that could not be read, by name. Kinds that are `ignored` are not raised.
    """

    __slots__ = (
        "_books",
        "_collected_ms",
        "_core",
        "_find_duplicates",
        "_found",
        "_ignored",
        "_moved",
        "_newest",
        "_recorded_ms",
        "_stamp_sum",
        "_symbols",
        "last_price_change_ms",
        "unreadable",
    )

    meanings = MEANINGS
    is_required = True

    def __init__(
        self, limit: int, *, find_duplicates: bool = False, ignored: Iterable[str] = (), core: CoreChoice = "python"
    ) -> None:
        self.last_price_change_ms = 0
        self.unreadable = dict.fromkeys(FIELDS, 0)
        self._core: CoreChoice = core
        self._ignored = frozenset(ignored)
        self._find_duplicates = find_duplicates
        self._symbols = symbol_states(core, limit)
        self._books = OrderBooks(limit)
        self._found: set[Anomaly] = set()
        self._moved = False
        self._recorded_ms = 0
        self._collected_ms = 0
        self._newest = 0.0
        self._stamp_sum = 0.0

    @classmethod
    def create(cls, config: Config, rule: Thresholds) -> Self:
        """See Analyzer."""
        limit, find_duplicates = config.input.limits.symbols_per_feed, config.feeds.find_duplicates
        return cls(limit, find_duplicates=find_duplicates, ignored=rule.ignore_anomalies, core=config.input.core)

    def reconfigure(self, config: Config, rule: Thresholds) -> None:
        """See Analyzer; symbols beyond a lowered limit stay known until they are forgotten."""
        self._symbols.limit = self._books.limit = config.input.limits.symbols_per_feed
        self._find_duplicates, self._ignored = config.feeds.find_duplicates, frozenset(rule.ignore_anomalies)

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """See Analyzer; a replay is compared with nothing and not remembered."""
        if arrival.is_replay:
            old = Arrival(arrival.record_ms, arrival.received_ms, is_live=False)
            return self._without_memory().observe(batch, stats, old)
        recorded, received, is_live = arrival.record_ms, arrival.received_ms, arrival.is_live
        # Several partitions are read in turns: only a batch that was appended last can go backwards.
        slack: float = _INFINITY
        if recorded >= self._recorded_ms:
            slack, self._recorded_ms = BACKWARDS_MS, recorded if recorded < received else received
        newest = stats.newest
        self._examine_batch(batch, stats, received + FUTURE_MS, slack)
        if newest > received + FUTURE_MS:
            self._found.add(Anomaly.FUTURE_MESSAGE)
        self._examine_messages(stats, slack)
        if isinstance(batch, PartialBatch):
            self._count_unreadable(batch)
        # A trade is a move of the market at any price: a stable coin may have one price for hours.
        if self._moved or (newest > self._newest and stats.has_trades):
            changed = received if is_live else min(recorded or received, received)
            self.last_price_change_ms = max(self.last_price_change_ms, changed)
        elif newest == self._newest and newest:
            self._compare(stats)
        self._newest, self._stamp_sum = newest, stats.stamp_sum
        if self._find_duplicates:
            self._compare_messages(batch.data)
        return self._take() if self._found else ()

    def _take(self) -> list[Anomaly]:
        found = sorted(self._found - self._ignored)
        self._found.clear()
        return found

    def set_back(self, now_ms: int) -> None:
        """See Analyzer."""
        self.last_price_change_ms = min(self.last_price_change_ms, now_ms)
        self._recorded_ms = min(self._recorded_ms, now_ms)

    def _without_memory(self) -> Quality:
        """Return an analyzer without knowledge of the feed, which counts unreadable fields here."""
        limit, core = self._symbols.limit, self._core
        other = Quality(limit, find_duplicates=self._find_duplicates, ignored=self._ignored, core=core)
        other.unreadable = self.unreadable
        return other

    def knows_newer(self, stats: BatchStats) -> bool:
        """Whether one of the messages is clearly older than the last one of its symbol."""
        return self._symbols.knows_newer(stats)

    def prices(self) -> dict[str, float]:
        """Return the last price of each symbol that has one; order books have none."""
        return self._symbols.prices()

    def price(self, symbol: str) -> float | None:
        """Return the last price of a symbol, None if it has none."""
        return self._symbols.price(symbol)

    def forget_symbols(self, symbols: Iterable[str]) -> None:
        """See Analyzer."""
        for symbol in symbols:
            self._symbols.forget(symbol)
            self._books.forget(symbol)

    def _examine_batch(self, batch: Batch, stats: BatchStats, horizon: int, slack: float) -> None:
        collected, declared = batch.timestamp_ms, batch.batch_size
        if declared != stats.size and declared is not None:
            self._found.add(Anomaly.SIZE_MISMATCH)
        if stats.implausible or 0 < collected < MIN_TIMESTAMP_MS:
            self._found.add(Anomaly.IMPLAUSIBLE_STAMP)
        if collected > horizon:
            self._found.add(Anomaly.FUTURE_BATCH)
        if collected < self._collected_ms - slack:
            self._found.add(Anomaly.BATCH_TIME_BACKWARDS)
        self._collected_ms = collected

    def _count_unreadable(self, batch: PartialBatch) -> None:
        """Count the fields that could not be read; when none of the prices can be read, they may have moved."""
        self._found.add(Anomaly.UNREADABLE_FIELD)
        for name, number in batch.unreadable.items():
            self.unreadable[name] += number
        rows, is_priced = batch.data, any(row.last is not None or row.price is not None for row in batch.data)
        if not is_priced and not batch.unreadable.keys().isdisjoint(("last", "price")):
            self._moved |= any(self._symbols.price(row.symbol) is not None for row in rows)

    def _examine_messages(self, stats: BatchStats, slack: float) -> None:
        found, books = self._symbols.examine(stats, slack)
        self._moved = found & MOVED != 0
        if found > MOVED:
            self._found.update(kind for bit, kind in ANOMALIES.items() if found & bit)
        if books:
            self._moved |= self._books.examine(books, self._found, self.unreadable)
            stats.books = self._books.read

    def _compare(self, stats: BatchStats) -> None:
        """Find a snapshot with the prices and timestamps of the one before. Trades are no snapshots."""
        if stats.stamp_sum == self._stamp_sum and not stats.has_trades:
            self._found.add(Anomaly.UNCHANGED_BATCH)

    def _compare_messages(self, messages: Sequence[Message]) -> None:
        tickers = [(row.symbol, row.timestamp, row.last) for row in messages if row.last is not None]
        if len(set(tickers)) < len(tickers):
            self._found.add(Anomaly.DUPLICATE_MESSAGES)

    def _unreadable_fields(self, name: str, labels: str) -> str:
        return "".join([f'{name}_total{{{labels},field="{field}"}} {n}\n' for field, n in self.unreadable.items()])

    rows: ClassVar[tuple[Row[Quality], ...]] = (
        Row(
            "marketdata_unreadable_fields",
            "counter",
            "Optional fields of valid batches that cannot be read and are left out, by name.",
            _unreadable_fields,
        ),
        Row(
            "marketdata_feed_last_price_change_timestamp_seconds",
            "gauge",
            "Unix time of the last price change or newer trade.",
            unix_time(lambda quality: quality.last_price_change_ms),
            "seconds",
        ),
    )
