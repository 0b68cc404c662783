"""The entries in memory, on cachetools: the least recently used goes first, and each has a time of its own. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from exporter.performance.cache.entries import Entry
from exporter.performance.extras import require

if TYPE_CHECKING:
    from cachetools import TLRUCache


class MemoryTier:
    """Up to `capacity` entries, which may be changed up to `max_capacity`. Time is that of `clock`.

    The keys of the last `capacity` entries that went for lack of room are remembered: a request for one of them would
    have been a hit with twice the capacity, and is counted by `near_misses`.
    """

    def __init__(self, capacity: int, max_capacity: int, clock: Callable[[], float]) -> None:
        require("cachetools", "CacheManager", "performance")
        from cachetools import TLRUCache

        if not 1 <= capacity <= max_capacity:
            raise ValueError(f"capacity is from 1 to max_capacity, not {capacity!r} of {max_capacity!r}")
        self.capacity = capacity
        self.max_capacity = max_capacity
        self.evictions = 0
        self.near_misses = 0
        # One more: cachetools evicts before it inserts, and evictions are counted here.
        self._entries: TLRUCache[str, Entry] = TLRUCache(max_capacity + 1, _expires, clock)
        self._evicted = OrderedDict[str, None]()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        """Return an entry that has not expired."""
        try:
            return self._entries[key]
        except KeyError:
            self.near_misses += key in self._evicted
            return None

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry for its time; one without time replaces an older one by nothing."""
        self._evicted.pop(key, None)
        if entry.ttl <= 0:
            self.drop(key)
            return
        self._entries[key] = entry
        self._evict()

    def drop(self, key: str) -> None:
        """Drop an entry, if there is one."""
        self._entries.pop(key, None)

    def drop_prefix(self, prefix: str) -> None:
        """Drop all entries whose keys begin so."""
        for key in [each for each in self._entries if each.startswith(prefix)]:
            self.drop(key)

    def drop_expired(self) -> int:
        """Drop entries whose time is over; return their number."""
        return len(list(self._entries.expire()))

    def halve(self) -> int:
        """Drop the less recently used half; return its number. The capacity stays."""
        self.drop_expired()
        number = (len(self._entries) + 1) // 2
        for _ in range(number):
            self._entries.popitem()
        return number

    def resize(self, capacity: int) -> None:
        """Set the capacity, and evict what is beyond it; what was evicted before is no evidence for the new one."""
        if capacity == self.capacity:
            return
        self.capacity = capacity
        self._evicted.clear()
        self._evict()

    def _evict(self) -> None:
        while len(self._entries) > self.capacity:
            key, _ = self._entries.popitem()
            self.evictions += 1
            self._evicted[key] = None
        while len(self._evicted) > self.capacity:
            self._evicted.popitem(last=False)


def _expires(key: str, entry: Entry, now: float) -> float:
    return now + entry.ttl
