"""All feeds of the process, within limits. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from exporter.config.feed_globs import FeedFilter
from exporter.config.schema import Limits
from exporter.decoding.names import check_feed
from exporter.feeds.feed import Feed
from exporter.feeds.health_factory import HealthFactory
from exporter.feeds.native_feed import new_feed
from exporter.model import FeedKey, Reason, Rejected

# Symbols examined at a time, at most, when those of all feeds are too many: about half a millisecond.
RETIRE_EXAMINED = 10_000
# A search for idle feeds examines all feeds, which takes milliseconds; there is one in this time.
IDLE_SEARCH_MS = 10_000


def _nothing_else(_: Feed) -> bool:
    return True


class TableSettings(NamedTuple):
    """What may change of a table: its limits, the feeds to analyze, their health, and the feeds that must exist."""

    limits: Limits
    wanted: FeedFilter
    health: HealthFactory
    expected: Iterable[FeedKey] = ()


class FeedTable:
    """All feeds of the process, under the limits on their number and that of their symbols.

    `symbols` is the number of symbols of all feeds, `forgotten` that of feeds that made room for others so far.
    """

    def __init__(
        self, limits: Limits, wanted: FeedFilter, health: HealthFactory, expected: Iterable[FeedKey] = ()
    ) -> None:
        self.limits = limits
        self.feeds: dict[FeedKey, Feed] = {}
        self.symbols = 0
        self.forgotten = 0
        self._wanted = wanted
        self._health = health
        self._idle: list[Feed] = []  # that which is idle the longest comes last
        self._searched_ms = 0
        self._next = 0  # the feed whose symbols are examined next
        for key in expected:
            self.expect(key)

    def find(self, key: FeedKey, now_ms: int, detach: Callable[[Feed], bool] = _nothing_else) -> Feed | None:
        """Return the feed, or a new one not kept yet; None when it is filtered out; raise `Rejected` at a limit.

        At the limit an idle feed is forgotten, provided that `detach` removes all other references to it.
        """
        if (feed := self.feeds.get(key)) is None:
            check_feed(key, self.limits.name_length)
        if not self._wanted.wants(key):
            return None
        if feed is not None:
            return feed
        if len(self.feeds) >= self.limits.feeds and not self._forget_one(now_ms, detach):
            raise Rejected(Reason.TOO_MANY_FEEDS, f"{key} would be one more than the {self.limits.feeds} allowed")
        return new_feed(key, self._health.settings(key))

    def known(self, key: FeedKey) -> Feed | None:
        """Return the feed if it is known and analyzed."""
        feed = self.feeds.get(key)
        return feed if feed is not None and self._wanted.wants(key) else None

    def expect(self, key: FeedKey) -> None:
        """Keep a feed before its first batch: it is configured, so its counters begin at 0 now."""
        self.keep(self.feeds.get(key) or new_feed(key, self._health.settings(key)))

    def reconfigure(self, settings: TableSettings, now_ms: int, detach: Callable[[Feed], bool]) -> Iterator[None]:
        """Put other settings in force, one feed a step; counters and what was learned stay.

        Feeds that are no longer expected go if they never had a batch, those beyond a lowered limit if they are idle;
        so do symbols beyond a limit that were not seen for long.
        """
        self.limits, self._wanted, self._health, expected = settings
        for feed in list(self.feeds.values()):
            feed.reconfigure(self._health.settings(feed.key), self.limits, now_ms)
            if feed.is_unused:
                del self.feeds[feed.key]
            yield
        for key in expected:
            self.expect(key)
            yield
        yield from self._shrink(now_ms, detach)

    def _shrink(self, now_ms: int, detach: Callable[[Feed], bool]) -> Iterator[None]:
        self._searched_ms = 0
        self._idle.clear()
        while len(self.feeds) > self.limits.feeds and self._forget_one(now_ms, detach):
            yield
        self.symbols = sum(feed.symbol_count for feed in self.feeds.values())
        for feed in list(self.feeds.values()):
            if self.symbols <= self.limits.symbols:
                break
            self.symbols -= feed.retire_symbols(now_ms, ())
            yield

    def keep(self, feed: Feed) -> None:
        """Keep a feed that `find` has created."""
        self.feeds.setdefault(feed.key, feed)

    def admit(self, feed: Feed, symbols: set[str], now_ms: int) -> None:
        """Count the symbols of a batch as those of the feed, or raise `Rejected` at a limit."""
        new = len(feed.unknown(symbols))
        if not new:
            return
        before = feed.symbol_count
        try:
            feed.admit(symbols, self.limits, now_ms)
        finally:
            self.symbols -= before - feed.symbol_count
        excess = self.symbols + new - self.limits.symbols
        if excess > 0 and self._retire(excess, feed, symbols, now_ms) < excess:
            found = f"all feeds have {self.symbols} symbols, at most {self.limits.symbols} are allowed"
            raise Rejected(Reason.TOO_MANY_SYMBOLS, f"{new} new symbols for {feed.key}; {found}")
        self.symbols += new

    def _retire(self, wanted: int, newest: Feed, keep: set[str], now_ms: int) -> int:
        """Forget symbols not seen for long, feed by feed, until there are as many as wanted; return their number."""
        feeds, examined, retired = list(self.feeds.values()), 0, 0
        for _ in feeds:
            if retired >= wanted or examined >= RETIRE_EXAMINED:
                break
            self._next = (self._next + 1) % len(feeds)
            feed = feeds[self._next]
            examined += feed.symbol_count + 1
            retired += feed.retire_symbols(now_ms, keep if feed is newest else ())
        self.symbols -= retired
        return retired

    def _forget_one(self, now_ms: int, detach: Callable[[Feed], bool]) -> bool:
        """Forget the feed that has been idle for the longest; return whether there was one."""
        if not self._idle and abs(now_ms - self._searched_ms) >= IDLE_SEARCH_MS:
            self._searched_ms = now_ms
            idle = [feed for feed in self.feeds.values() if self._is_dispensable(feed, now_ms)]
            self._idle = sorted(idle, key=lambda feed: feed.counted_ms, reverse=True)
        while self._idle:
            feed = self._idle.pop()
            if self._is_dispensable(feed, now_ms) and detach(feed):
                del self.feeds[feed.key]
                self.symbols -= feed.symbol_count
                self.forgotten += 1
                return True
        return False

    def _is_dispensable(self, feed: Feed, now_ms: int) -> bool:
        """Return whether a feed may make room: it is idle, or was left out by a reload."""
        return feed.is_idle(now_ms) or not self._wanted.wants(feed.key)
