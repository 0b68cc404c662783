"""Counts of connections. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


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
