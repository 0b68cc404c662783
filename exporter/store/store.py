"""The store adds up symbols over all replicas. Whoever has no Redis has the one that keeps nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from exporter.model import FeedKey, SymbolUpdate


class StoreUnavailable(Exception):
    """Redis does not answer, not in time, or refuses; the text is fit for logs and people.

    `is_final`: the server works, and refuses for what it already holds, so that trying again does not help.
    """

    def __init__(self, text: str, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.is_final = is_final


class SymbolStatistics(NamedTuple):
    """What all replicas together have seen of a symbol."""

    feed: FeedKey
    symbol: str
    messages: int
    last_seen_ms: int


class Place(NamedTuple):
    """Where a page of symbols begins: a partition, the cursor of a scan over its names, and the name before."""

    partition: str = ""
    cursor: int = 0
    name: bytes = b""


class Store(Protocol):
    """Where symbols are added up."""

    def start(self) -> None:
        """Begin to write."""

    def offer(self, updates: Sequence[SymbolUpdate]) -> None:
        """Hand over updates, which are not changed afterwards; it neither blocks nor raises."""

    def add(self, feed: FeedKey, timestamp_ms: int, symbols: Iterable[str]) -> None:
        """Offer a batch that has no place in Kafka; each call counts."""

    def stop(self, deadline_seconds: float) -> None:
        """Write what waits, as far as the deadline allows, and drop the rest."""

    def page(self, feed: FeedKey | None, after: Place, limit: int) -> tuple[list[SymbolStatistics], Place | None]:
        """At most so many symbols (of a feed), and where the next begin; blocks, and raises StoreUnavailable."""

    def lookup(self, feed: FeedKey, symbols: Iterable[str]) -> list[SymbolStatistics]:
        """Those of the symbols that any replica has seen; blocks, and raises StoreUnavailable."""

    def distinct(self, feed: FeedKey) -> int | None:
        """About how many symbols the feed had in this window and the one before; blocks, raises StoreUnavailable."""


class NullStore:
    """The store of those who have no Redis: it keeps nothing and knows nothing."""

    def start(self) -> None:
        """See Store."""

    def offer(self, updates: Sequence[SymbolUpdate]) -> None:
        """See Store."""

    def add(self, feed: FeedKey, timestamp_ms: int, symbols: Iterable[str]) -> None:
        """See Store."""

    def stop(self, deadline_seconds: float) -> None:
        """See Store."""

    def page(self, feed: FeedKey | None, after: Place, limit: int) -> tuple[list[SymbolStatistics], Place | None]:
        """See Store."""
        return [], None

    def lookup(self, feed: FeedKey, symbols: Iterable[str]) -> list[SymbolStatistics]:
        """See Store."""
        return []

    def distinct(self, feed: FeedKey) -> int | None:
        """See Store."""
        return None
