"""Pages of symbols, with a limited number of rows: of all replicas with Redis, else of this process."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Annotated, NamedTuple

import msgspec

from exporter.feeds.feed import Feed
from exporter.feeds.symbols import SymbolStatus
from exporter.model import FeedKey
from exporter.status import SidecarStatus
from exporter.store.store import NullStore, PageCursor, Store, SymbolStatistics
from exporter.web.interface import CursorError, Row, SymbolPage

# Sorts before all feeds.
FIRST = FeedKey("", "", "")
LOOKED_UP = 1000

Statuses = Mapping[str, SymbolStatus]


class _After(NamedTuple):
    """The end of a page: in Redis, or among the feeds of this process."""

    place: PageCursor = PageCursor()
    feed: FeedKey | None = None
    symbol: str = ""

    def text(self) -> str:
        """Return the text by which a client requests the next page."""
        values = [
            self.place.partition,
            self.place.scan_cursor,
            self.place.name.decode("latin-1"),
            self.feed,
            self.symbol,
        ]
        return urlsafe_b64encode(msgspec.json.encode(values)).decode()


_Values = tuple[str, Annotated[int, msgspec.Meta(ge=0)], str, FeedKey | None, str]


def _after(text: str) -> _After:
    if not text:
        return _After()
    try:
        values = msgspec.json.decode(urlsafe_b64decode(text), type=_Values)
        partition, cursor, name, feed, symbol = values
        return _After(PageCursor(partition, cursor, name.encode("latin-1")), feed, symbol)
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        raise CursorError("after must be the `next` of the previous page") from None


class _Seen(NamedTuple):
    """A copy of the symbols of a feed in this process: messages, and the last batch of each in Unix ms."""

    messages: Mapping[str, int]
    last_ms: Mapping[str, int]
    statuses: Statuses


class SymbolPages:
    """Factory of pages; reads the state of one feed at a time."""

    def __init__(self, status: SidecarStatus, store: Store) -> None:
        self._status = status
        self._store = store

    def page(self, feed: FeedKey | None, after: str, limit: int) -> SymbolPage:
        """Return at most `limit` rows from `after` on; see `exporter.web.interface.Queries`."""
        begin = _after(after)
        if isinstance(self._store, NullStore):
            return _cut(self._rows_here(feed, begin), begin, limit)
        return self._of_all_replicas(feed, begin, limit)

    def _of_all_replicas(self, feed: FeedKey | None, begin: _After, limit: int) -> SymbolPage:
        """Return rows from Redis, and at the end those of expected symbols that no replica has seen."""
        if begin.feed is not None:
            return _cut(self._never_seen(feed, begin), begin, limit)
        found, place = self._store.page(feed, begin.place, limit)
        rows = list(self._rows_of(found))
        if place is not None:
            return SymbolPage(rows, _After(place).text())
        begin = _After(feed=FIRST)
        rest = _cut(self._never_seen(feed, begin), begin, limit - len(rows))
        return SymbolPage(rows + rest.rows, rest.after)

    def _rows_here(self, feed: FeedKey | None, begin: _After) -> Iterator[Row]:
        for known in self._feeds(feed, begin):
            seen = self._snapshot(known)
            for symbol in _symbols(seen.last_ms.keys() | seen.statuses.keys(), known.key, begin):
                count, last_ms = seen.messages.get(symbol, 0), seen.last_ms.get(symbol)
                yield _row(known.key, symbol, count, last_ms, seen.statuses)

    def _rows_of(self, found: Iterable[SymbolStatistics]) -> Iterator[Row]:
        by_feed: dict[FeedKey, list[SymbolStatistics]] = defaultdict(list)
        for each in found:
            by_feed[each.feed].append(each)
        for key in sorted(by_feed):
            known = self._status.feed(key)
            last_ms = {each.symbol: each.last_seen_ms for each in by_feed[key]}
            statuses = {} if known is None else self._statuses(known, last_ms)
            for each in sorted(by_feed[key]):
                yield _row(key, each.symbol, each.messages, each.last_seen_ms, statuses)

    def _never_seen(self, feed: FeedKey | None, begin: _After) -> Iterator[Row]:
        for known in self._feeds(feed, begin):
            statuses = self._statuses(known, {})
            symbols = _symbols(statuses, known.key, begin)
            for start in range(0, len(symbols), LOOKED_UP):
                some = symbols[start : start + LOOKED_UP]
                seen = {each.symbol for each in self._store.lookup(known.key, some)}
                yield from (_row(known.key, symbol, 0, None, statuses) for symbol in some if symbol not in seen)

    def _feeds(self, feed: FeedKey | None, begin: _After) -> list[Feed]:
        """Return the feeds of this process (or the given one) from the end of a page on, in order."""
        feeds = sorted(self._status.feeds(), key=lambda known: known.key)
        return [known for known in feeds if feed in (None, known.key) and known.key >= (begin.feed or FIRST)]

    def _snapshot(self, feed: Feed) -> _Seen:
        with self._status.read_access:
            messages, last_ms = dict(feed.symbol_messages), dict(feed.symbol_seen_ms)
        return _Seen(messages, last_ms, self._statuses(feed, last_ms))

    def _statuses(self, feed: Feed, seen_ms: Mapping[str, int]) -> Statuses:
        """Return statuses at the time of the feed's last batch on any replica: a silent feed misses no symbols."""
        with self._status.read_access:
            if not feed.partitions:
                return {}
            coverage, sent_ms = feed.health.coverage.copied(), feed.health.freshness.last_sent_ms
        return coverage.statuses(seen_ms, max(sent_ms, max(seen_ms.values(), default=0)))


def _symbols(names: Iterable[str], key: FeedKey, begin: _After) -> list[str]:
    """Return the names in order; in the feed in which a page ended, those after its last symbol."""
    ordered = sorted(names)
    return ordered[bisect_right(ordered, begin.symbol) :] if key == begin.feed else ordered


def _row(key: FeedKey, symbol: str, messages: int, last_ms: int | None, statuses: Statuses) -> Row:
    row: dict[str, object] = {**key._asdict(), "symbol": symbol, "messages": messages}
    if last_ms is not None:
        row["last_seen_ms"] = last_ms
    if symbol in statuses:
        row["status"] = statuses[symbol]
    return row


def _cut(rows: Iterator[Row], begin: _After, limit: int) -> SymbolPage:
    """Return the first rows, and the end of the page if there are more."""
    some = list(islice(rows, limit))
    if next(rows, None) is None:
        return SymbolPage(some, "")
    if not some:
        return SymbolPage([], begin.text())
    last = FeedKey(*(str(some[-1][part]) for part in FeedKey._fields))
    return SymbolPage(some, _After(feed=last, symbol=str(some[-1]["symbol"])).text())
