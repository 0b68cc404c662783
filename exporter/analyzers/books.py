"""The best levels of order books, read from the JSON of their sides as far as it is needed."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from exporter.codec import NO_JSON
from exporter.model import Anomaly

if TYPE_CHECKING:
    from exporter.codec import Message

# A book costs about 2 µs, a row of a ticker a tenth; so the books of a large batch take turns.
BOOKS_PER_BATCH = 4

# So many books in a row with both sides and no removal: a feed that sends whole books, not what changed in them.
WHOLE_BOOKS = 100

_NUMBER = rb'"?(-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)"?\s*'
_LEVEL = re.compile(rb"\s*\[\s*\[\s*" + _NUMBER + rb",\s*" + _NUMBER)
_UNIT = re.compile(
    rb'\s*\[\s*\{(?=[^}]*?"(?:ap|ask_price)"\s*:\s*'
    + _NUMBER
    + rb')(?=[^}]*?"(?:bp|bid_price)"\s*:\s*'
    + _NUMBER
    + rb")"
)
_EMPTY = re.compile(rb"\s*\[\s*\]")
_INFINITY = float("inf")


class Books:
    """The order books of one feed; what is kept is bounded by `limit` symbols.

    Sides are judged by their first levels, best first. A feed may send whole books, or what changed in them: then a
    side without levels is nothing special, and a first level that is removed is not the best one.
    """

    __slots__ = ("_best", "_limit", "_turn", "_whole")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._best: dict[str, tuple[float, float]] = {}
        self._turn = 0
        self._whole = 0.0

    def examine(self, books: dict[str, Message], found: set[Anomaly]) -> bool:
        """Add what is wrong to `found`, and tell whether a best price moved; `books` has one row a symbol."""
        if len(books) <= BOOKS_PER_BATCH:
            rows = list(books.values())
        else:
            start = self._turn % len(books)
            rows = list(islice(books.values(), start, start + BOOKS_PER_BATCH))
            self._turn = start + len(rows)
        moved = False
        for row in rows:
            moved |= self._examine(row, found)
        return moved

    def forget(self, symbol: str) -> None:
        """Forget a symbol, known or not."""
        self._best.pop(symbol, None)

    def _examine(self, row: Message, found: set[Anomaly]) -> bool:
        if row.units is not NO_JSON:
            match = _UNIT.match(row.units)
            if match is not None:
                return self._judge(row.symbol, float(match[1]), float(match[2]), found)
            if _EMPTY.match(row.units):
                found.add(Anomaly.EMPTY_BOOK)
            return False
        ask, bid = _LEVEL.match(row.asks), _LEVEL.match(row.bids)
        if (ask and float(ask[2]) == 0) or (bid and float(bid[2]) == 0):
            self._whole = -_INFINITY
        elif ask and bid:
            self._whole += 1
            return self._judge(row.symbol, float(ask[1]), float(bid[1]), found)
        elif _EMPTY.match(row.asks) or _EMPTY.match(row.bids):
            self._one_sided(found)
        return bool(ask or bid)

    def _one_sided(self, found: set[Anomaly]) -> None:
        if self._whole >= WHOLE_BOOKS:
            found.add(Anomaly.EMPTY_BOOK)
        elif self._whole > 0:
            self._whole = 0

    def _judge(self, symbol: str, ask: float, bid: float, found: set[Anomaly]) -> bool:
        if bid >= ask:
            found.add(Anomaly.CROSSED_BOOK)
        best = self._best.get(symbol)
        if best == (ask, bid):
            return False
        if best is not None or len(self._best) < self._limit:
            self._best[symbol] = ask, bid
        return True
