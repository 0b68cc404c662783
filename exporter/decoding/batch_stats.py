"""Statistics of one batch, computed once for all analyzers. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import cast

from exporter.decoding.batch import MAX_TIMESTAMP_MS, Batch
from exporter.model import BatchResult

# Year 2000: an earlier number is a Unix time in seconds, or a default.
MIN_TIMESTAMP_MS = 946_684_800_000


class BatchStats:
    """A `batch`, its result and the values behind it.

    `names` has the symbol of each message, in order. `stamps` are the plausible timestamps of messages in Unix
    milliseconds, oldest first, and `stamp_sum` is their sum; `implausible` counts the others. A message without a
    timestamp, or with 0, is in neither. `books` has the best ask and bid of each order book that was read: the analyzer
    of quality sets it while it reads the messages.
    """

    __slots__ = ("batch", "books", "implausible", "names", "result", "stamp_sum", "stamps", "symbols")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.names = [message.symbol for message in batch.data]
        self.symbols = set(self.names)
        unique = len(self.symbols)
        self.result = BatchResult(len(self.names), unique, 1 / unique if unique else 0.0, batch.timestamp_ms)
        self.books: Sequence[tuple[float, float]] = ()
        self.implausible = 0
        self.stamps = self._sorted([message.timestamp for message in batch.data])
        self.stamp_sum = sum(self.stamps)

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
