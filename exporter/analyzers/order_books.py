"""The best levels of order books, read once for all analyzers, from as much of the JSON as they take. No analyzer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from re import Pattern
from typing import TYPE_CHECKING

from msgspec import MsgspecError, Raw, json

from exporter.decoding.batch import NO_JSON
from exporter.decoding.numbers import number
from exporter.model import Anomaly

if TYPE_CHECKING:
    from exporter.decoding.batch import Message

# A book takes about 2 µs, a row of a ticker a tenth of that; so the books of a large batch take turns.
BOOKS_PER_BATCH = 4

# So many books in a row with both sides and no removal: a feed that sends whole books, not what changed in them.
WHOLE_BOOKS = 100

# The usual notation, matched at once: none of these numbers exceeds a double. Others are read with care.
_NUMBER = rb'"?(-?\d{1,40}(?:\.\d*)?(?:[eE][+-]?\d\d?)?)"?\s*(?=[,\]}])'
_VALUE = rb'("[^"\\]*"|[^\s,"\[\]{}]+)\s*(?=[,\]}])'
_LEVEL, _ANY_LEVEL = (re.compile(rb"\s*\[\s*\[\s*%b,\s*%b" % (value, value)) for value in (_NUMBER, _VALUE))
_UNIT, _ANY_UNIT = (
    re.compile(
        rb'\s*\[\s*\{(?=[^}]*?"(?:ap|ask_price)"\s*:\s*%b)(?=[^}]*?"(?:bp|bid_price)"\s*:\s*%b)' % (value, value)
    )
    for value in (_NUMBER, _VALUE)
)
_EMPTY = re.compile(rb"\s*\[\s*\]")
_NULL = re.compile(rb"null")
_NO_LEVELS = re.compile(rb"[^\[n]")
_INFINITY = float("inf")
_Level = tuple[float, float]  # price and size; of a unit the prices of both sides


class OrderBooks:
    """The order books of one feed, of at most `limit` symbols.

    Only the first level of a side, the best one, is read. A feed may send whole books, or changes of books: then a side
    without levels is no anomaly, and a first level that is removed is not the best one. `read` has the best ask and bid
    of each book of the last batch that was read, as long as the feed has removed no level.
    """

    __slots__ = ("_best", "_turn", "_whole", "limit", "read")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._best: dict[str, tuple[float, float]] = {}
        self._turn = 0
        self._whole = 0.0
        self.read: list[tuple[float, float]] = []

    def examine(self, books: Sequence[Message], found: set[Anomaly], unreadable: dict[str, int]) -> bool:
        """Read the books, add anomalies to `found`, and return whether a best price moved.

        `books` has one row for each symbol; the native core makes those of a slice when they are asked for. Sides that
        cannot be read are counted in `unreadable`, by their name.
        """
        self.read = []
        if len(books) <= BOOKS_PER_BATCH:
            rows = books[:]
        else:
            start = self._turn % len(books)
            rows = books[start : start + BOOKS_PER_BATCH]
            self._turn = start + len(rows)
        moved = False
        for row in rows:
            try:
                moved |= self._examine(row, found)
            except _UnreadableSideError as error:
                found.add(Anomaly.UNREADABLE_FIELD)
                unreadable[str(error)] += 1
                moved |= self._knows(row.symbol)  # it may have moved, and must not count as frozen
        return moved

    def _knows(self, symbol: str) -> bool:
        return symbol in self._best

    def forget(self, symbol: str) -> None:
        """Forget a symbol, known or not."""
        self._best.pop(symbol, None)

    def _examine(self, row: Message, found: set[Anomaly]) -> bool:
        if row.units is not NO_JSON:
            unit = _UNIT.match(row.units)
            if unit is not None:
                return self._take(row.symbol, float(unit[1]), float(unit[2]), found)
        ask, bid = _LEVEL.match(row.asks), _LEVEL.match(row.bids)
        if ask is None or bid is None:
            return self._examine_with_care(row, found)
        return self._compare(row.symbol, (float(ask[1]), float(ask[2])), (float(bid[1]), float(bid[2])), found)

    def _examine_with_care(self, row: Message, found: set[Anomaly]) -> bool:
        """Examine a book that lacks something, or has numbers in an unusual notation."""
        if row.units is not NO_JSON and not _NULL.match(row.units):
            best = _first("units", row.units, _ANY_UNIT)
            if best is not None:
                return self._take(row.symbol, *best, found)
            if _EMPTY.match(row.units):
                found.add(Anomaly.EMPTY_BOOK)
            return False
        ask, bid = _first("asks", row.asks, _ANY_LEVEL), _first("bids", row.bids, _ANY_LEVEL)
        if ask and bid:
            return self._compare(row.symbol, ask, bid, found)
        if any(side and side[1] == 0 for side in (ask, bid)):
            self._whole = -_INFINITY
        elif _EMPTY.match(row.asks) or _EMPTY.match(row.bids):
            self._one_sided(found)
        return bool(ask or bid)

    def _compare(self, symbol: str, ask: _Level, bid: _Level, found: set[Anomaly]) -> bool:
        if ask[1] == 0 or bid[1] == 0:  # levels to remove
            self._whole = -_INFINITY
            return True
        self._whole += 1
        return self._take(symbol, ask[0], bid[0], found)

    def _one_sided(self, found: set[Anomaly]) -> None:
        if self._whole >= WHOLE_BOOKS:
            found.add(Anomaly.EMPTY_BOOK)
        elif self._whole > 0:
            self._whole = 0

    def _take(self, symbol: str, ask: float, bid: float, found: set[Anomaly]) -> bool:
        if bid >= ask:
            found.add(Anomaly.CROSSED_BOOK)
        best = ask, bid
        if self._whole >= 0:
            self.read.append(best)
        before = self._best.get(symbol)
        if before == best:
            return False
        if before is not None or len(self._best) < self.limit:
            self._best[symbol] = best
        return True


class _UnreadableSideError(Exception):
    """The side of this name is no list of levels, or its first level has no numbers."""


def _first(name: str, side: Raw, levels: Pattern[bytes]) -> _Level | None:
    """Return the two numbers of the first level, None without one in a known form; raise _UnreadableSideError."""
    match = levels.match(side)
    if match is None:
        if side is not NO_JSON and _NO_LEVELS.match(side):
            raise _UnreadableSideError(name)
        return None
    try:
        first, second = (number(json.decode(value)) for value in match.groups())
    except (MsgspecError, UnicodeDecodeError, ValueError):
        raise _UnreadableSideError(name) from None
    return None if first is None or second is None else (first, second)
