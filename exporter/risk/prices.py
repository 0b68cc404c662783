"""The fresh quotes of symbols, from the feeds that are healthy. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, Protocol, TypeVar

from exporter.feeds.feed import Feed
from exporter.feeds.states import FeedState
from exporter.model import FeedKey, Partition
from exporter.risk.plausibility import Quote
from exporter.risk.symbols import SEPARATOR, split

HEALTHY = (FeedState.OK, FeedState.PARTIAL)

T = TypeVar("T")
R = TypeVar("R")


def rank(key: FeedKey, globs: Sequence[str]) -> tuple[int, FeedKey]:
    """Return the place of a feed among all; the number is that of the first glob that fits, or beyond the last."""
    name = str(key)
    fitting = (number for number, glob in enumerate(globs) if fnmatchcase(name, glob))
    return next(fitting, len(globs)), key


class Each(Protocol):
    """Reads the content of feeds, a moment at a time; see `exporter.runtime.fair_lock.ReadAccess.each`."""

    def __call__(self, items: Iterable[T], read: Callable[[T], R], /) -> Iterator[R]:
        """Yield what `read` returns for each item."""


class Prices(NamedTuple):
    """Fresh quotes, the partitions that they came from, and the symbols whose feeds are not read here."""

    fresh: dict[str, Quote]
    partitions: frozenset[Partition]
    elsewhere: frozenset[str]


class _Reading(NamedTuple):
    """What one feed has of the symbols that were asked for; `quotes` are the fresh ones."""

    feed: FeedKey
    partitions: frozenset[Partition]
    carried: frozenset[str]
    quotes: dict[str, Quote]


class FeedPrices:
    """The prices of symbols. Each has the price of one feed, as long as that feed is known.

    Of the feeds that one of the globs fits, in the order of these, a symbol gets the first that carries it.
    """

    def __init__(self, globs: Iterable[str], price_age_ms: int) -> None:
        self._globs = tuple(globs)
        self._price_age_ms = price_age_ms
        self._chosen: dict[str, FeedKey] = {}

    def take(self, symbols: Iterable[str], feeds: Iterable[Feed], each: Each, now_ms: int) -> Prices:
        """Return the prices of symbols at a time in Unix milliseconds."""
        wanted = tuple(symbols)
        known = {feed.key: feed for feed in feeds}
        self._chosen = {symbol: self._chosen[symbol] for symbol in wanted if self._chosen.get(symbol) in known}
        asked: dict[FeedKey, set[str]] = {}
        for symbol in wanted:
            for key in self._candidates(symbol, known):
                asked.setdefault(key, set()).add(symbol)
        order = [known[key] for key in sorted(asked, key=self._rank)]
        found = list(each(order, lambda feed: self._read(feed, asked[feed.key], now_ms)))
        fresh, partitions = dict[str, Quote](), set[Partition]()
        for reading in found:
            for symbol in reading.carried:
                if self._chosen.setdefault(symbol, reading.feed) == reading.feed:
                    partitions |= reading.partitions
                    if symbol in reading.quotes:
                        fresh[symbol] = reading.quotes[symbol]
        owned = {reading.feed for reading in found if reading.partitions}
        elsewhere = frozenset(symbol for symbol in wanted if self._chosen.get(symbol) not in owned)
        return Prices(fresh, frozenset(partitions), elsewhere)

    def _candidates(self, symbol: str, known: Mapping[FeedKey, Feed]) -> Iterable[FeedKey]:
        """Return the feeds that a symbol may have its price from."""
        if symbol in self._chosen:
            return (self._chosen[symbol],)
        feed, _ = split(symbol)
        if feed:
            return (key,) if (key := FeedKey(*feed.split(":"))) in known else ()
        return (key for key in known if self._rank(key)[0] < len(self._globs))

    def _rank(self, key: FeedKey) -> tuple[int, FeedKey]:
        return rank(key, self._globs)

    def _read(self, feed: Feed, symbols: Iterable[str], now_ms: int) -> _Reading:
        prefix = f"{feed.key}{SEPARATOR}"
        names = {symbol: symbol.removeprefix(prefix) for symbol in symbols}
        seen_ms = feed.symbol_seen_ms
        seen = {symbol: seen_ms[name] for symbol, name in names.items() if name in seen_ms}
        is_healthy = feed.health.state in HEALTHY and bool(feed.partitions)
        oldest = now_ms - self._price_age_ms
        quotes = {
            symbol: Quote(price, seen_ms)
            for symbol, seen_ms in seen.items()
            if is_healthy and seen_ms >= oldest and (price := feed.health.quality.price(names[symbol])) is not None
        }
        return _Reading(feed.key, frozenset(feed.partitions), frozenset(seen), quotes)
