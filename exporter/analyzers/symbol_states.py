"""The last prices and timestamps of the symbols of a feed: the pass over the rows of each batch. No analyzer.

Most of the time of an analysis is spent here, so the native core has the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from exporter.core import native
from exporter.decoding.batch import MAX_TIMESTAMP_MS, MIN_TIMESTAMP_MS, NO_JSON
from exporter.model import Anomaly

if TYPE_CHECKING:
    from exporter.core import CoreChoice
    from exporter.decoding.batch import Message
    from exporter.decoding.batch_stats import BatchStats

BACKWARDS_MS = 5_000
# A jump exceeds both: so many times the usual change of its symbol, and this ratio.
JUMP_DEVIATIONS = 20.0
JUMP_RATIO = 0.05
# So many changes of a price are needed to know what is usual; each later one, clipped, moves that by 1/64.
WARM_UP_CHANGES = 30
_PULL = 1 / 64
_INFINITY = float("inf")
_NONE_YET = float("nan")  # equal to no price, so the first one is examined, whatever it is

# What a pass over the rows finds, as bits: whether a price moved, and anomalies.
MOVED = 1
_BACKWARDS, _INVALID, _INVERTED, _OUT_OF_RANGE, _JUMP = 2, 4, 8, 16, 32
ANOMALIES = {
    _BACKWARDS: Anomaly.MESSAGE_TIME_BACKWARDS,
    _INVALID: Anomaly.INVALID_PRICE,
    _INVERTED: Anomaly.INVERTED_RANGE,
    _OUT_OF_RANGE: Anomaly.PRICE_OUT_OF_RANGE,
    _JUMP: Anomaly.PRICE_JUMP,
}


class SymbolStates(Protocol):
    """The symbols of one feed, of which at most `limit` are remembered."""

    limit: int

    def __len__(self) -> int:
        """Return how many symbols are remembered."""

    def examine(self, stats: BatchStats, slack: float) -> tuple[int, Sequence[Message]]:
        """Pass over the rows once; return what was found, as bits, and the last order book of each symbol.

        A timestamp goes backwards when it is more than `slack` ms before the last one of its symbol.
        """

    def knows_newer(self, stats: BatchStats) -> bool:
        """Whether one of the messages is clearly older than the last one of its symbol."""

    def price(self, symbol: str) -> float | None:
        """Return the last price of a symbol, None if it has none."""

    def prices(self) -> dict[str, float]:
        """Return the last price of each symbol that has one; order books have none."""

    def forget(self, symbol: str) -> None:
        """Forget a symbol, known or not."""


def symbol_states(core: CoreChoice, limit: int) -> SymbolStates:
    """Return an empty object of the core that is chosen."""
    module = native(core)
    return PythonSymbolStates(limit) if module is None else module.Symbols(limit, NO_JSON)


class _State:
    """The last price and timestamp of one symbol, and how much its price usually changes (`scale`, as a ratio)."""

    __slots__ = ("changes", "price", "scale", "stamp")

    def __init__(self) -> None:
        self.price = _NONE_YET
        self.stamp = 0.0
        self.scale = 0.0
        self.changes = 0


class PythonSymbolStates:
    """The reference; see SymbolStates."""

    __slots__ = ("_states", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._states: dict[str, _State] = {}

    def __len__(self) -> int:
        return len(self._states)

    def examine(self, stats: BatchStats, slack: float) -> tuple[int, Sequence[Message]]:
        """See SymbolStates; rare cases have functions of their own."""
        states, messages, found = self._states, stats.batch.data, 0
        is_stamped = len(stats.stamps) == len(messages)
        books: dict[str, Message] = {}
        for message in messages:
            try:
                known = states[message.symbol]
            except KeyError:
                known = self._meet(message.symbol)
            stamp: float = message.timestamp  # type: ignore[assignment] # None is falsy
            if is_stamped or (stamp and MIN_TIMESTAMP_MS <= stamp <= MAX_TIMESTAMP_MS):
                if stamp < known.stamp and stamp < known.stamp - slack:
                    found |= _BACKWARDS
                known.stamp = stamp
            price = message.last
            if price is None and (price := message.price) is None:
                if message.asks is not NO_JSON or message.bids is not NO_JSON or message.units is not NO_JSON:
                    books[message.symbol] = message
                continue
            if price != known.price:
                found |= _move(known, price)
            low, high = message.low, message.high
            if low is not None and high is not None and not low <= price <= high:
                found |= _out_of_range(low, high, known, price)
        return found, list(books.values()) if books else ()

    def knows_newer(self, stats: BatchStats) -> bool:
        """See SymbolStates."""
        states, nothing = self._states, _State()
        stamped = ((message.timestamp, states.get(message.symbol, nothing)) for message in stats.batch.data)
        return any(0 < stamp < known.stamp - BACKWARDS_MS for stamp, known in stamped if stamp)

    def price(self, symbol: str) -> float | None:
        """See SymbolStates."""
        known = self._states.get(symbol)
        return known.price if known is not None and known.price > 0 else None

    def prices(self) -> dict[str, float]:
        """See SymbolStates."""
        return {symbol: known.price for symbol, known in self._states.items() if known.price > 0}

    def forget(self, symbol: str) -> None:
        """See SymbolStates."""
        self._states.pop(symbol, None)

    def _meet(self, symbol: str) -> _State:
        known = _State()
        if len(self._states) < self.limit:
            self._states[symbol] = known
        return known


def _move(known: _State, price: float) -> int:
    """Examine a price that differs from the one before, and remember it."""
    if not 0 < price < _INFINITY:
        return 0 if _is_none_yet(known, price) else _INVALID
    before, known.price = known.price, price
    if before is _NONE_YET:
        return MOVED
    change = price / before - 1 if price > before else before / price - 1
    usual = known.scale
    if known.changes < WARM_UP_CHANGES:
        known.changes += 1
        known.scale = usual + (change - usual) / known.changes
        return MOVED
    clip = usual * JUMP_DEVIATIONS
    known.scale = usual + ((change if change < clip else clip) - usual) * _PULL
    return MOVED | _JUMP if change > clip and change > JUMP_RATIO else MOVED


def _out_of_range(low: float, high: float, known: _State, price: float) -> int:
    if high < low:
        return _INVERTED
    # 0: nothing was traded in the time that the range covers.
    return _OUT_OF_RANGE if high != 0 and not _is_none_yet(known, price) else 0


def _is_none_yet(known: _State, price: float) -> bool:
    """Whether the price is 0 because its symbol was never traded: it has had no other price."""
    return price == 0 and known.price is _NONE_YET
