"""Counts of connections. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Client = TypeVar("Client", bound=Hashable)


class Counts(Generic[Key]):
    """Number of connections of each key, such as a network, that has any."""

    def __init__(self) -> None:
        self._numbers: dict[Key, int] = {}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._numbers)

    def count(self, key: Key) -> int:
        """Return the number of connections of a key."""
        return self._numbers.get(key, 0)

    def largest(self) -> Key:
        """Return the key with the most connections."""
        return max(self._numbers, key=self.count)

    def add(self, key: Key) -> None:
        """Count a connection."""
        self._numbers[key] = self.count(key) + 1

    def remove(self, key: Key) -> None:
        """Remove a connection."""
        self._numbers[key] -= 1
        if not self._numbers[key]:
            del self._numbers[key]


class Crowds(Generic[Key, Client]):
    """Clients of each key, such as a network, by age; to find those of the largest takes no longer with many keys."""

    def __init__(self) -> None:
        self._clients: dict[Key, dict[Client, None]] = {}
        # The keys with so many clients; those with fewer than the largest may be none.
        self._keys: dict[int, dict[Key, None]] = {}
        self._largest = 0

    def add(self, key: Key, client: Client) -> None:
        """Add the newest client."""
        clients = self._clients.setdefault(key, {})
        clients[client] = None
        self._move(key, len(clients) - 1, len(clients))
        self._largest = max(self._largest, len(clients))

    def remove(self, key: Key, client: Client) -> None:
        """Remove a client."""
        clients = self._clients[key]
        del clients[client]
        self._move(key, len(clients) + 1, len(clients))
        if not clients:
            del self._clients[key]
        if self._largest not in self._keys:
            self._largest -= 1

    def oldest(self) -> Client:
        """Return the oldest client of the key with the most of them; there must be one."""
        key = next(iter(self._keys[self._largest]))
        return next(iter(self._clients[key]))

    def _move(self, key: Key, before: int, after: int) -> None:
        if before:
            del self._keys[before][key]
            if not self._keys[before]:
                del self._keys[before]
        if after:
            self._keys.setdefault(after, {})[key] = None
