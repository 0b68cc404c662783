"""Pages of the symbols in Redis: the cost of a page depends on its size, not on the number of symbols.

A page starts where the previous one ended: in one step of a scan over the names of one partition, after one name. A
name that several partitions have is returned with the first of them, with the sums of all. Symbols that are added or
removed between two pages may be missed; others are not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import redis

from exporter.model import FeedKey
from exporter.store import keyspace
from exporter.store.refusals import is_final
from exporter.store.store import PageCursor, StoreUnavailable, SymbolStatistics

SCAN_NAMES = 1000
# Steps of a scan for one page, which may be short for a feed with few names among many.
SCANS_MAX = 100
# Names times partitions in one call, which blocks the server for some 20 ms.
LOOKUPS = 20_000


class _ScanStep(NamedTuple):
    """The sorted names of one step of a scan, and the cursor of the next; 0 at the end."""

    names: list[bytes]
    cursor: int


class PageReader:
    """Reader of pages with one client; raises StoreUnavailable after `deadline` (monotonic seconds).

    Entries that no sidecar wrote are left out, and `on_skipped` is called for each.
    """

    def __init__(
        self, client: redis.Redis, keys: keyspace.Keys, deadline: float, on_skipped: Callable[[], object] = lambda: None
    ) -> None:
        self._client = client
        self._keys = keys
        self._deadline = deadline
        self._on_skipped = on_skipped
        index: list[Any] = client.zrange(keys.partitions, 0, -1)
        self._partitions = sorted(name.decode() for name in index if self._count_unless(keyspace.is_partition(name)))

    def page(
        self, feed: FeedKey | None, after: PageCursor, limit: int
    ) -> tuple[list[SymbolStatistics], PageCursor | None]:
        """Return at most `limit` symbols (of a feed), and the cursor of the next page, None at the end."""
        match = None if feed is None else keyspace.pattern(feed)
        found: list[SymbolStatistics] = []
        start = self._existing(after)
        for _ in range(SCANS_MAX):
            if start is None or len(found) == limit:
                break
            step = self._scan(start, match)
            names = step.names[: limit - len(found)]
            found += self.statistics(names, start.partition)
            if len(names) < len(step.names):
                return found, start._replace(name=names[-1])
            start = self._next(start, step.cursor)
        return found, start

    def statistics(self, names: Sequence[bytes], first: str | None = None) -> Iterator[SymbolStatistics]:
        """Yield the sums of the names over all partitions; with `first`, of names whose first partition that is."""
        size = max(1, LOOKUPS // max(1, len(self._partitions)))
        for start in range(0, len(names), size):
            some = names[start : start + size]
            for name, values in zip(some, zip(*self._values(some), strict=True), strict=True):
                holders = [number for number, (messages, seen) in enumerate(values) if None not in (messages, seen)]
                if holders and first in (None, self._partitions[holders[0]]):
                    messages, seen_ms = zip(*(values[number] for number in holders), strict=True)
                    yield SymbolStatistics(*keyspace.parsed(name), sum(messages), max(seen_ms))

    def _values(self, names: Sequence[bytes]) -> Iterator[list[tuple[int | None, int | None]]]:
        """Yield for each partition the message count and the last time of each name."""
        self._check_time()
        with self._client.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.hmget(self._keys.messages(partition), names)
                pipe.zmscore(self._keys.seen(partition), names)  # type: ignore[arg-type]  # bytes are fine
            results: list[Any] = pipe.execute(raise_on_error=False)
        columns = [self._numbers(result, len(names)) for result in results]
        for messages, seen in zip(columns[::2], columns[1::2], strict=True):
            yield list(zip(messages, seen, strict=True))

    def _numbers(self, result: Any, size: int) -> list[int | None]:
        """Return the numbers in a reply; None for each name when the key has another type."""
        if isinstance(result, redis.ResponseError) and is_final(result):
            self._on_skipped()
            return [None] * size
        if isinstance(result, Exception):
            raise result
        numbers = [keyspace.number(value) for value in result]
        for value, number in zip(result, numbers, strict=True):
            self._count_unless(value is None or number is not None)
        return numbers

    def _count_unless(self, is_valid: bool) -> bool:
        """Count a skipped entry unless it is valid; return `is_valid`."""
        if not is_valid:
            self._on_skipped()
        return is_valid

    def _scan(self, start: PageCursor, match: bytes | None) -> _ScanStep:
        self._check_time()
        try:
            step: Any = self._client.hscan(self._keys.messages(start.partition), start.scan_cursor, match, SCAN_NAMES)
        except redis.ResponseError as error:
            if not is_final(error):
                raise
            self._on_skipped()
            return _ScanStep([], 0)
        cursor, names = step
        after = (name for name in names if name > start.name and name != keyspace.FENCE)
        return _ScanStep(sorted(name for name in after if self._count_unless(keyspace.is_name(name))), int(cursor))

    def _existing(self, start: PageCursor) -> PageCursor | None:
        """Return the cursor, or the start of the next partition when its own is gone; None at the end."""
        following = [partition for partition in self._partitions if partition >= start.partition]
        if not following:
            return None
        return start if following[0] == start.partition else PageCursor(following[0])

    def _next(self, start: PageCursor, scan_cursor: int) -> PageCursor | None:
        if scan_cursor:
            return PageCursor(start.partition, scan_cursor)
        following = self._partitions[self._partitions.index(start.partition) + 1 :]
        return PageCursor(following[0]) if following else None

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise StoreUnavailable("the read took too long")
