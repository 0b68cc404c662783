"""Anomalies in the content of batches, and the time of the last price change.

Each kind is raised at most once for a batch, so its counter counts batches. What is normal on some exchange raises
nothing: ranges of 0 (nothing was traded), rows that are sent again within a second, books that are changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from exporter.analyzers import Analyzer
from exporter.analyzers.order_books import OrderBooks
from exporter.decoding.batch import FIELDS, MAX_TIMESTAMP_MS, NO_JSON, PartialBatch
from exporter.decoding.batch_stats import MIN_TIMESTAMP_MS
from exporter.instrument.families import Row, unix_time
from exporter.model import Anomaly, Arrival

if TYPE_CHECKING:
    from exporter.config.schema import Config, Thresholds
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
BACKWARDS_MS = 5_000

# A jump exceeds both: so many times the usual change of its symbol, and this ratio.
JUMP_DEVIATIONS = 20.0
JUMP_RATIO = 0.05
# So many changes of a price are needed to know what is usual; each later one, clipped, moves that by 1/64.
WARM_UP_CHANGES = 30
_PULL = 1 / 64
_INFINITY = float("inf")
_NONE_YET = float("nan")  # equal to no price, so the first one is examined, whatever it is


class SymbolState:
    """The last price and timestamp of one symbol, and how much its price usually changes (`scale`, as a ratio)."""

    __slots__ = ("changes", "price", "scale", "stamp")

    def __init__(self) -> None:
        self.price = _NONE_YET
        self.stamp = 0.0
        self.scale = 0.0
        self.changes = 0


class Quality(Analyzer):
    """The content of one feed, of at most `limit` symbols.

    `last_price_change_ms` is the time of the last price change or newer trade in Unix milliseconds: of a live batch by
    the sidecar's clock, of an old one by the broker's, like `Freshness.last_sent_ms` with which it is compared; 0:
    none yet. `unreadable` counts the fields that could not be read, by name. Kinds that are `ignored` are not raised.
    """

    __slots__ = (
        "_books",
        "_collected_ms",
        "_find_duplicates",
        "_found",
        "_ignored",
        "_limit",
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

    def __init__(self, limit: int, *, find_duplicates: bool = False, ignored: Iterable[str] = ()) -> None:
        self.last_price_change_ms = 0
        self.unreadable = dict.fromkeys(FIELDS, 0)
        self._limit = limit
        self._ignored = frozenset(ignored)
        self._find_duplicates = find_duplicates
        self._symbols: dict[str, SymbolState] = {}
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
        return cls(limit, find_duplicates=find_duplicates, ignored=rule.ignore_anomalies)

    def reconfigure(self, config: Config, rule: Thresholds) -> None:
        """See Analyzer; symbols beyond a lowered limit stay known until they are forgotten."""
        self._limit = self._books.limit = config.input.limits.symbols_per_feed
        self._find_duplicates, self._ignored = config.feeds.find_duplicates, frozenset(rule.ignore_anomalies)

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """See Analyzer; a replay is compared with nothing and not remembered."""
        if arrival.is_replay:
            old = Arrival(arrival.record_ms, arrival.received_ms, is_live=False)
            return self._without_memory().observe(batch, stats, old)
        recorded, received, is_live = arrival.record_ms, arrival.received_ms, arrival.is_live
        stamps, messages = stats.stamps, batch.data
        # Several partitions are read in turns: only a batch that was appended last can go backwards.
        slack: float = _INFINITY
        if recorded >= self._recorded_ms:
            slack, self._recorded_ms = BACKWARDS_MS, recorded if recorded < received else received
        self._moved = False
        newest = stamps[-1] if stamps else 0
        self._examine_batch(batch, stats, received + FUTURE_MS, slack)
        if newest > received + FUTURE_MS:
            self._found.add(Anomaly.FUTURE_MESSAGE)
        self._examine_messages(messages, stats, slack)
        if isinstance(batch, PartialBatch):
            self._count_unreadable(batch)
        # A trade is a move of the market at any price: a stable coin may have one price for hours.
        if self._moved or (newest > self._newest and _has_trades(messages)):
            changed = received if is_live else min(recorded or received, received)
            self.last_price_change_ms = max(self.last_price_change_ms, changed)
        elif newest == self._newest and newest:
            self._compare(batch, stats)
        self._newest, self._stamp_sum = newest, stats.stamp_sum
        if self._find_duplicates:
            self._compare_messages(messages)
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
        other = Quality(self._limit, find_duplicates=self._find_duplicates, ignored=self._ignored)
        other.unreadable = self.unreadable
        return other

    def knows_newer(self, messages: Iterable[Message]) -> bool:
        """Whether one of the messages is clearly older than the last one of its symbol."""
        symbols, nothing = self._symbols, SymbolState()
        stamped = ((message.timestamp, symbols.get(message.symbol, nothing)) for message in messages)
        return any(0 < stamp < known.stamp - BACKWARDS_MS for stamp, known in stamped if stamp)

    def prices(self) -> dict[str, float]:
        """Return the last price of each symbol that has one; order books have none."""
        return {symbol: known.price for symbol, known in self._symbols.items() if known.price > 0}

    def forget_symbols(self, symbols: Iterable[str]) -> None:
        """See Analyzer."""
        for symbol in symbols:
            self._symbols.pop(symbol, None)
            self._books.forget(symbol)

    def _examine_batch(self, batch: Batch, stats: BatchStats, horizon: int, slack: float) -> None:
        collected, declared = batch.timestamp_ms, batch.batch_size
        if declared != len(batch.data) and declared is not None:
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
            self._moved |= any(known.price > 0 for row in rows if (known := self._symbols.get(row.symbol)))

    def _examine_messages(self, messages: Sequence[Message], stats: BatchStats, slack: float) -> None:
        """Pass over the rows once. Most of the time is spent here, so rare cases have functions of their own."""
        symbols, is_stamped = self._symbols, len(stats.stamps) == len(messages)
        books: dict[str, Message] = {}
        for message in messages:
            try:
                known = symbols[message.symbol]
            except KeyError:
                known = self._meet(message.symbol)
            stamp: float = message.timestamp  # type: ignore[assignment] # None is falsy
            if is_stamped or (stamp and MIN_TIMESTAMP_MS <= stamp <= MAX_TIMESTAMP_MS):
                if stamp < known.stamp and stamp < known.stamp - slack:
                    self._found.add(Anomaly.MESSAGE_TIME_BACKWARDS)
                known.stamp = stamp
            price = message.last
            if price is None and (price := message.price) is None:
                if message.asks is not NO_JSON or message.bids is not NO_JSON or message.units is not NO_JSON:
                    books[message.symbol] = message
                continue
            if price != known.price:
                self._move(known, price)
            low, high = message.low, message.high
            if low is not None and high is not None and not low <= price <= high:
                self._find_range(low, high, known, price)
        if books:
            self._moved |= self._books.examine(books, self._found, self.unreadable)
            stats.books = self._books.read

    def _meet(self, symbol: str) -> SymbolState:
        known = SymbolState()
        if len(self._symbols) < self._limit:
            self._symbols[symbol] = known
        return known

    def _move(self, known: SymbolState, price: float) -> None:
        """Examine a price that differs from the one before, and remember it."""
        if not 0 < price < _INFINITY:
            if not _is_none_yet(known, price):
                self._found.add(Anomaly.INVALID_PRICE)
            return
        before, known.price = known.price, price
        self._moved = True
        if before is _NONE_YET:
            return
        change = price / before - 1 if price > before else before / price - 1
        usual = known.scale
        if known.changes < WARM_UP_CHANGES:
            known.changes += 1
            known.scale = usual + (change - usual) / known.changes
            return
        clip = usual * JUMP_DEVIATIONS
        if change > clip and change > JUMP_RATIO:
            self._found.add(Anomaly.PRICE_JUMP)
        known.scale = usual + ((change if change < clip else clip) - usual) * _PULL

    def _find_range(self, low: float, high: float, known: SymbolState, price: float) -> None:
        if high < low:
            self._found.add(Anomaly.INVERTED_RANGE)
        elif high != 0 and not _is_none_yet(known, price):  # 0: nothing was traded in the time that the range covers
            self._found.add(Anomaly.PRICE_OUT_OF_RANGE)

    def _compare(self, batch: Batch, stats: BatchStats) -> None:
        """Find a snapshot with the prices and timestamps of the one before. Trades are no snapshots."""
        if stats.stamp_sum == self._stamp_sum and not _has_trades(batch.data):
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


def _is_none_yet(known: SymbolState, price: float) -> bool:
    """Whether the price is 0 because its symbol was never traded: it has had no other price."""
    return price == 0 and known.price is _NONE_YET


def _has_trades(messages: Sequence[Message]) -> bool:
    """Whether the batch has trades, even when the price of the first is unknown."""
    first = messages[0]
    return first.price is not None or (first.last is None and any(row.price is not None for row in messages))
