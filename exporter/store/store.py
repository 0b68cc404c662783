"""The protocol of a store of symbol counts over all replicas, and the null object that stands for no store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from exporter.model import FeedKey, SymbolUpdate


class StoreUnavailable(Exception):
    """Redis does not answer in time, or refuses; the text is safe for logs and clients.

    `is_final`: the server works and refuses because of the stored data, so that another attempt fails as well.
    """

    def __init__(self, text: str, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.is_final = is_final


class SymbolStatistics(NamedTuple):
    """Counts of one symbol over all replicas."""

    feed: FeedKey
    symbol: str
    messages: int
    last_seen_ms: int


class PageCursor(NamedTuple):
    """The start of a page of symbols: a partition, the cursor of a scan over its names, and the preceding name."""

    partition: str = ""
    scan_cursor: int = 0
    name: bytes = b""


class Store(Protocol):
    """Adds up the messages of symbols over all replicas."""

    def start(self) -> None:
        """Start writing."""

    def offer(self, updates: Sequence[SymbolUpdate]) -> None:
        """Queue updates, which the caller must not change afterwards; neither block nor raise."""

    def add(self, feed: FeedKey, timestamp_ms: int, symbols: Iterable[str]) -> None:
        """Queue a batch that does not come from Kafka; each call counts."""

    def stop(self, deadline_seconds: float) -> None:
        """Write queued updates within the deadline, and drop the rest."""

    def page(
        self, feed: FeedKey | None, after: PageCursor, limit: int
    ) -> tuple[list[SymbolStatistics], PageCursor | None]:
        """Return at most `limit` symbols (of a feed) and the next cursor or None; block, raise StoreUnavailable."""

    def lookup(self, feed: FeedKey, symbols: Iterable[str]) -> list[SymbolStatistics]:
        """Return the counts of those symbols that any replica has seen; block, raise StoreUnavailable."""

    def distinct(self, feed: FeedKey) -> int | None:
        """Estimate the distinct symbols of the feed in this and the previous window; block, raise StoreUnavailable."""


class NullStore:
    """The store without Redis, which keeps nothing."""

    def start(self) -> None:
        """See Store."""

    def offer(self, updates: Sequence[SymbolUpdate]) -> None:
        """See Store."""

    def add(self, feed: FeedKey, timestamp_ms: int, symbols: Iterable[str]) -> None:
        """See Store."""

    def stop(self, deadline_seconds: float) -> None:
        """See Store."""

    def page(
        self, feed: FeedKey | None, after: PageCursor, limit: int
    ) -> tuple[list[SymbolStatistics], PageCursor | None]:
        """See Store."""
        return [], None

    def lookup(self, feed: FeedKey, symbols: Iterable[str]) -> list[SymbolStatistics]:
        """See Store."""
        return []

    def distinct(self, feed: FeedKey) -> int | None:
        """See Store."""
        return None
