"""What is suspicious in the batches of a feed, and when its prices last moved.

Each kind is raised at most once a batch, so its counter counts batches. What is normal on some exchange is defined so
that it raises nothing: ranges of 0 (nothing traded), rows that are sent again within a second, books that are changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from exporter.analyzers.order_books import OrderBooks
from exporter.decoding.batch import FIELDS, MAX_TIMESTAMP_MS, NO_JSON, PartialBatch
from exporter.decoding.batch_stats import MIN_TIMESTAMP_MS
from exporter.model import Anomaly

if TYPE_CHECKING:
    from exporter.decoding.batch import Batch, Message
    from exporter.decoding.batch_stats import BatchStats
    from exporter.model import Arrival

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

# A jump is beyond both: so many times the usual change of its symbol, and this ratio.
JUMP_DEVIATIONS = 20.0
JUMP_RATIO = 0.05
# Changes of a price before its next ones are judged; then each moves what is usual by 1/64, none by more than its clip.
WARM_UP_CHANGES = 30
_PULL = 1 / 64
_INFINITY = float("inf")
_NONE_YET = float("nan")  # equal to no price, so the first one is judged, whatever it is


class SymbolState:
    """What is remembered of one symbol: last price and stamp, and how much the price usually changes (as a ratio)."""

    __slots__ = ("changes", "price", "scale", "stamp")

    def __init__(self) -> None:
        self.price = _NONE_YET
        self.stamp = 0.0
        self.scale = 0.0
        self.changes = 0


class Quality:
    """Watches the content of one feed; what is remembered is bounded by `limit` symbols.

    `last_price_change_ms` is when any price last was another than before, or a newer trade came, in Unix milliseconds:
    of a live batch by our clock, of an old one by the broker's, as `Freshness.last_sent_ms` with which it is compared;
    0 before the first. `unreadable` counts the fields that could not be read, by name. Kinds that are `ignored` are
    not raised.
    """

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

    def examine(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """Take one batch into account, and return what is suspicious in it, each kind once."""
        recorded, received, is_live = arrival.record_ms, arrival.received_ms, arrival.is_live
        stamps, messages = stats.stamps, batch.data
        # Several partitions are read side by side: only what was appended last can be said to go backwards.
        slack: float = _INFINITY
        if recorded >= self._recorded_ms:
            slack, self._recorded_ms = BACKWARDS_MS, recorded if recorded < received else received
        self._moved = False
        newest = stamps[-1] if stamps else 0
        self._examine_batch(batch, stats, received + FUTURE_MS, slack)
        if newest > received + FUTURE_MS:
            self._found.add(Anomaly.FUTURE_MESSAGE)
        self._examine_messages(messages, len(stamps) == len(messages), slack)
        if isinstance(batch, PartialBatch):
            self._count_unreadable(batch)
        # A trade moves the market at whatever price; a stable coin may have one price for hours.
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
        """Let no moment be later than now."""
        self.last_price_change_ms = min(self.last_price_change_ms, now_ms)
        self._recorded_ms = min(self._recorded_ms, now_ms)

    def without_memory(self) -> Quality:
        """One that knows nothing of the feed, for a batch that is neither to be compared nor to be remembered."""
        other = Quality(self._limit, find_duplicates=self._find_duplicates, ignored=self._ignored)
        other.unreadable = self.unreadable
        return other

    def knows_newer(self, messages: Iterable[Message]) -> bool:
        """Whether one of the messages goes backwards for its symbol."""
        symbols, nothing = self._symbols, SymbolState()
        stamped = ((message.timestamp, symbols.get(message.symbol, nothing)) for message in messages)
        return any(0 < stamp < known.stamp - BACKWARDS_MS for stamp, known in stamped if stamp)

    def prices(self) -> dict[str, float]:
        """The last price of each symbol that has one; order books have none."""
        return {symbol: known.price for symbol, known in self._symbols.items() if known.price > 0}

    def forget(self, symbols: Iterable[str]) -> None:
        """Forget symbols, to make room for others."""
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
        """Count the fields that could not be read; prices of which none can be read any more may have moved."""
        self._found.add(Anomaly.UNREADABLE_FIELD)
        for name, number in batch.unreadable.items():
            self.unreadable[name] += number
        rows, is_priced = batch.data, any(row.last is not None or row.price is not None for row in batch.data)
        if not is_priced and not batch.unreadable.keys().isdisjoint(("last", "price")):
            self._moved |= any(known.price > 0 for row in rows if (known := self._symbols.get(row.symbol)))

    def _examine_messages(self, messages: Sequence[Message], is_stamped: bool, slack: float) -> None:
        """One pass over the rows. This is where the time goes, so what is rare is elsewhere."""
        symbols = self._symbols
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

    def _meet(self, symbol: str) -> SymbolState:
        known = SymbolState()
        if len(self._symbols) < self._limit:
            self._symbols[symbol] = known
        return known

    def _move(self, known: SymbolState, price: float) -> None:
        """Judge a price that is another than before, and remember it."""
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
        """Find a snapshot that says what the one before said: no price moved, no stamp did. Trades are no snapshots."""
        if stats.stamp_sum == self._stamp_sum and not _has_trades(batch.data):
            self._found.add(Anomaly.UNCHANGED_BATCH)

    def _compare_messages(self, messages: Sequence[Message]) -> None:
        tickers = [(row.symbol, row.timestamp, row.last) for row in messages if row.last is not None]
        if len(set(tickers)) < len(tickers):
            self._found.add(Anomaly.DUPLICATE_MESSAGES)


def _is_none_yet(known: SymbolState, price: float) -> bool:
    """Whether a price of 0 says that its symbol was never traded: it has had no other."""
    return price == 0 and known.price is _NONE_YET


def _has_trades(messages: Sequence[Message]) -> bool:
    """Whether the batch has trades, even when the price of the first is unknown."""
    first = messages[0]
    return first.price is not None or (first.last is None and any(row.price is not None for row in messages))
