"""All feeds of the process, within limits. Pure."""

from __future__ import annotations

from collections.abc import Callable

from exporter.config.schema import Limits
from exporter.decoding.names import FeedFilter, check_feed
from exporter.feeds.feed import Feed
from exporter.feeds.health import FeedHealth
from exporter.model import FeedKey, Reason, Rejected

# Symbols that are looked at for that, at most, when those of all feeds are too many: about half a millisecond.
RETIRE_LOOKS = 10_000


IDLE_LOOK_MS = 10_000


def _nothing_else(_: Feed) -> bool:
    return True


class FeedTable:
    """All feeds of the process, under the limits on their number and that of their symbols.

    `symbols` is how many symbols all feeds have, `forgotten` how many feeds made room for others so far.
    """

    def __init__(self, limits: Limits, wanted: FeedFilter, health: Callable[[FeedKey], FeedHealth]) -> None:
        self.limits = limits
        self.feeds: dict[FeedKey, Feed] = {}
        self.symbols = 0
        self.forgotten = 0
        self._wanted = wanted
        self._health = health
        self._idle: list[Feed] = []  # the one that is idle the longest comes last
        self._looked_ms = 0
        self._next = 0  # whose symbols are looked at next

    def find(self, key: FeedKey, now_ms: int, detach: Callable[[Feed], bool] = _nothing_else) -> Feed | None:
        """Return the feed, or one that is not kept yet; None when it is filtered out; raise `Rejected` at a limit.

        At the limit an idle feed is forgotten, provided that `detach` removes all other references to it.
        """
        if (feed := self.feeds.get(key)) is not None:
            return feed
        check_feed(key, self.limits.name_length)
        if not self._wanted.wants(key):
            return None
        if len(self.feeds) >= self.limits.feeds and not self._forget_one(now_ms, detach):
            raise Rejected(Reason.TOO_MANY_FEEDS, f"{key} would be one more than the {self.limits.feeds} allowed")
        return Feed(key, self._health(key))

    def expect(self, key: FeedKey) -> None:
        """Keep a feed before it is heard: it must exist, so its counters begin at 0 now."""
        self.keep(Feed(key, self._health(key)))

    def keep(self, feed: Feed) -> None:
        """Remember a feed that `find` has made."""
        self.feeds.setdefault(feed.key, feed)

    def admit(self, feed: Feed, symbols: set[str], now_ms: int) -> None:
        """Make room for the symbols of a batch, which are then the feed's, or raise `Rejected`."""
        known = feed.symbol_seen_ms
        if known.keys() >= symbols:
            return
        before = len(known)
        try:
            feed.admit(symbols, self.limits, now_ms)
        finally:
            self.symbols -= before - len(known)
        new = len(symbols - known.keys())
        excess = self.symbols + new - self.limits.symbols
        if excess > 0 and self._retire(excess, feed, symbols, now_ms) < excess:
            found = f"all feeds have {self.symbols} symbols, at most {self.limits.symbols} are allowed"
            raise Rejected(Reason.TOO_MANY_SYMBOLS, f"{new} new symbols for {feed.key}; {found}")
        self.symbols += new

    def _retire(self, wanted: int, newest: Feed, keep: set[str], now_ms: int) -> int:
        """Forget symbols that were not seen for long, those of one feed after another; return how many."""
        feeds, looked, retired = list(self.feeds.values()), 0, 0
        for _ in feeds:
            if retired >= wanted or looked >= RETIRE_LOOKS:
                break
            self._next = (self._next + 1) % len(feeds)
            feed = feeds[self._next]
            looked += len(feed.symbol_seen_ms) + 1
            retired += feed.retire_symbols(now_ms, keep if feed is newest else ())
        self.symbols -= retired
        return retired

    def _forget_one(self, now_ms: int, detach: Callable[[Feed], bool]) -> bool:
        """Forget the feed that has been idle for the longest, and return whether there was one."""
        if not self._idle and abs(now_ms - self._looked_ms) >= IDLE_LOOK_MS:
            self._looked_ms = now_ms
            idle = [feed for feed in self.feeds.values() if feed.is_idle(now_ms)]
            self._idle = sorted(idle, key=lambda feed: feed.counted_ms, reverse=True)
        while self._idle:
            feed = self._idle.pop()
            if feed.is_idle(now_ms) and detach(feed):
                del self.feeds[feed.key]
                self.symbols -= len(feed.symbol_seen_ms)
                self.forgotten += 1
                return True
        return False
