"""Statistics of one batch, computed once for all analyzers. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

from exporter.decoding.batch import MAX_TIMESTAMP_MS, MIN_TIMESTAMP_MS, Batch, Message
from exporter.decoding.contents import has_levels
from exporter.model import BatchResult, FeedKey

# A name is the same object in all batches, which takes a third of the time of creating it.
_feed_key = lru_cache(maxsize=16_384)(FeedKey)


class BatchStats:
    """A `batch`, its result and the values behind it: all that is asked of its rows. The native core has the same.

    `key` is the feed that the batch names, `size` the number of messages, and `names` has the symbol of each, in order.
    `stamps` are the plausible timestamps of messages in Unix milliseconds, oldest first, `stamped` is their number,
    `stamp_sum` their sum and `newest` the last, 0 without one; `implausible` counts the others. A message without a
    timestamp, or with 0, is in neither. `books` has the best ask and bid of each order book that was read: the analyzer
    of quality sets it while it reads the messages.
    """

    __slots__ = (
        "batch", "books", "implausible", "key", "names", "newest", "result", "size", "stamp_sum", "stamped", "stamps",
        "symbols",
    )  # fmt: skip

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.key = _feed_key(batch.region, batch.exchange, batch.request_type)
        self.names = [message.symbol for message in batch.data]
        self.symbols = set(self.names)
        self.size, unique = len(self.names), len(self.symbols)
        self.result = BatchResult(self.size, unique, 1 / unique if unique else 0.0, batch.timestamp_ms)
        self.books: Sequence[tuple[float, float]] = ()
        self.implausible = 0
        self.stamps = self._sorted([message.timestamp for message in batch.data])
        self.stamped = len(self.stamps)
        self.stamp_sum = sum(self.stamps)
        self.newest: float = self.stamps[-1] if self.stamps else 0

    def _sorted(self, stamps: list[float | None]) -> list[float]:
        known = cast("list[float]", stamps)
        try:
            known.sort()
            is_plausible = not known or MIN_TIMESTAMP_MS <= known[0] <= known[-1] <= MAX_TIMESTAMP_MS
        except TypeError:  # a row has null
            return self._plausible(sorted(stamp for stamp in stamps if stamp is not None))
        return known if is_plausible else self._plausible(known)

    def _plausible(self, stamps: list[float]) -> list[float]:
        kept = stamps[bisect_left(stamps, MIN_TIMESTAMP_MS) : bisect_right(stamps, MAX_TIMESTAMP_MS)]
        self.implausible = len(stamps) - len(kept) - stamps.count(0)
        return kept

    @property
    def has_trades(self) -> bool:
        """Whether the batch has trades, even when the price of the first is unknown."""
        messages = self.batch.data
        if not messages or messages[0].price is not None:
            return bool(messages)
        return messages[0].last is None and any(row.price is not None for row in messages)

    @property
    def is_priced(self) -> bool:
        """Whether a message has a price, or levels of an order book, also when there are none."""
        return any(map(_has_price, self.batch.data))

    def count_ages(self, sent_ms: int, bounds_ms: Sequence[int], buckets: list[int]) -> tuple[float, int]:
        """Count the ages of the messages by bucket; return their sum, and how many messages are newer than `sent_ms`.

        The time of a batch is a whole number: a message of the same millisecond has the age 0. There must be a stamp.
        """
        stamps, older, same = self.stamps, len(self.stamps), len(self.stamps)
        if stamps[-1] > sent_ms:
            older, same = bisect_right(stamps, sent_ms), bisect_left(stamps, sent_ms + 1)
        if not older:
            age_sum: float = 0
        elif older == len(stamps):
            age_sum = older * sent_ms - self.stamp_sum
        else:
            age_sum = older * sent_ms - sum(stamps[:older])
        if buckets:
            buckets[0] += same - older
            self._fill(sent_ms, bounds_ms, buckets, older)
        return age_sum, len(stamps) - same

    def _fill(self, sent_ms: int, bounds_ms: Sequence[int], buckets: list[int], end: int) -> None:
        """Count the first timestamps by bucket: they are sorted, so each bucket takes one search."""
        if not end:
            return
        stamps = self.stamps
        last = bisect_left(bounds_ms, sent_ms - stamps[0])
        for bucket in range(bisect_left(bounds_ms, sent_ms - stamps[end - 1]), last):
            start = bisect_left(stamps, sent_ms - bounds_ms[bucket], 0, end)
            buckets[bucket] += end - start
            end = start
        buckets[last] += end

    def is_within(self, seen_ms: dict[str, int]) -> bool:
        """Return whether all symbols are among those that were seen."""
        return seen_ms.keys() >= self.symbols

    def mark_seen(self, seen_ms: dict[str, int], sent_ms: int) -> None:
        """Set when each symbol was seen, unless it was seen later."""
        for symbol in self.symbols:
            if seen_ms.get(symbol, sent_ms) <= sent_ms:
                seen_ms[symbol] = sent_ms

    def count_messages(self, messages: Counter[str]) -> None:
        """Add the messages of each symbol to its count."""
        messages.update(self.names)


def _has_price(row: Message) -> bool:
    """Return whether a row has a price, or levels of an order book, also when there are none."""
    # Field by field: this is in the hot path of order books.
    if row.last is not None or row.price is not None:
        return True
    return has_levels(row.asks) or has_levels(row.bids) or has_levels(row.units)


def measured(batch: Batch) -> BatchStats:
    """Return the statistics of a batch; one of the native core has them itself."""
    known: object = batch
    return BatchStats(batch) if isinstance(known, Batch) else cast("BatchStats", known)
