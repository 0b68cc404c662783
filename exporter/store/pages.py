"""Reads the symbols in Redis a page at a time: what a page costs depends on its size, not on how many there are.

A page goes on where the one before ended: in one step of a scan over the names of one partition, after one name. A name
that several partitions have comes with the first of them, and with the sums of all. Symbols that come or go between two
pages may be missed; none that stays is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import redis

from exporter.model import FeedKey
from exporter.store import keyspace
from exporter.store.refusals import is_final
from exporter.store.store import Place, StoreUnavailable, SymbolStatistics

SCAN_NAMES = 1000
# Steps of a scan for one page: of a feed whose names are rare it may be short.
SCANS_MAX = 100
# Names times partitions that are looked up in one call; the server does nothing else meanwhile, for some 20 ms.
LOOKUPS = 20_000


class _Step(NamedTuple):
    """What one step of a scan brought, in order, and where the next begins; a cursor of 0 is the end."""

    names: list[bytes]
    cursor: int


class PageReader:
    """Reads with one client, until a moment (monotonic); raises StoreUnavailable when that has passed.

    What no sidecar wrote is left out, and `skipped` is called for it.
    """

    def __init__(
        self, client: redis.Redis, keys: keyspace.Keys, deadline: float, skipped: Callable[[], object] = lambda: None
    ) -> None:
        self._client = client
        self._keys = keys
        self._deadline = deadline
        self._skipped = skipped
        index: list[Any] = client.zrange(keys.partitions, 0, -1)
        self._partitions = sorted(name.decode() for name in index if self._is_ours(keyspace.is_partition(name)))

    def page(self, feed: FeedKey | None, after: Place, limit: int) -> tuple[list[SymbolStatistics], Place | None]:
        """Return at most so many symbols (of a feed), and where the next begin, None at the end."""
        match = None if feed is None else keyspace.pattern(feed)
        found: list[SymbolStatistics] = []
        place = self._existing(after)
        for _ in range(SCANS_MAX):
            if place is None or len(found) == limit:
                break
            step = self._step(place, match)
            names = step.names[: limit - len(found)]
            found += self.statistics(names, place.partition)
            if len(names) < len(step.names):
                return found, place._replace(name=names[-1])
            place = self._next(place, step.cursor)
        return found, place

    def statistics(self, names: Sequence[bytes], first: str | None = None) -> Iterator[SymbolStatistics]:
        """Yield what all partitions say of the names together; with `first`, of those that it is the first to have."""
        size = max(1, LOOKUPS // max(1, len(self._partitions)))
        for start in range(0, len(names), size):
            some = names[start : start + size]
            for name, values in zip(some, zip(*self._values(some), strict=True), strict=True):
                holders = [number for number, (messages, seen) in enumerate(values) if None not in (messages, seen)]
                if holders and first in (None, self._partitions[holders[0]]):
                    messages, seen_ms = zip(*(values[number] for number in holders), strict=True)
                    yield SymbolStatistics(*keyspace.parsed(name), sum(messages), max(seen_ms))

    def _values(self, names: Sequence[bytes]) -> Iterator[list[tuple[int | None, int | None]]]:
        """Yield messages and stamp of each name, for each partition."""
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
        """Return the numbers of an answer; of a key of another type none."""
        if isinstance(result, redis.ResponseError) and is_final(result):
            self._skipped()
            return [None] * size
        if isinstance(result, Exception):
            raise result
        numbers = [keyspace.number(value) for value in result]
        for value, number in zip(result, numbers, strict=True):
            self._is_ours(value is None or number is not None)
        return numbers

    def _is_ours(self, holds: bool) -> bool:
        if not holds:
            self._skipped()
        return holds

    def _step(self, place: Place, match: bytes | None) -> _Step:
        self._check_time()
        try:
            step: Any = self._client.hscan(self._keys.messages(place.partition), place.cursor, match, SCAN_NAMES)
        except redis.ResponseError as error:
            if not is_final(error):
                raise
            self._skipped()
            return _Step([], 0)
        cursor, names = step
        after = (name for name in names if name > place.name and name != keyspace.FENCE)
        return _Step(sorted(name for name in after if self._is_ours(keyspace.is_name(name))), int(cursor))

    def _existing(self, place: Place) -> Place | None:
        """The place, or the beginning of the next partition when its own is gone."""
        following = [partition for partition in self._partitions if partition >= place.partition]
        if not following:
            return None
        return place if following[0] == place.partition else Place(following[0])

    def _next(self, place: Place, cursor: int) -> Place | None:
        if cursor:
            return Place(place.partition, cursor)
        following = self._partitions[self._partitions.index(place.partition) + 1 :]
        return Place(following[0]) if following else None

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise StoreUnavailable("a read took too long")
