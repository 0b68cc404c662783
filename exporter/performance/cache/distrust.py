"""Keys whose entries in Redis are not read, because an invalidation has not come there. Pure: times are arguments."""

from __future__ import annotations

from typing import NamedTuple

MOST = 10_000


class Mark(NamedTuple):
    """A key, or all keys with a prefix, that is distrusted until a time; `number` differs in two marks of one key."""

    text: str
    is_prefix: bool
    until: float
    number: int


class Distrust:
    """The marks of one cache: each ends with its invalidation, or when what it was for has expired in Redis anyway.

    When there are too many, all keys are distrusted.
    """

    def __init__(self) -> None:
        self._marks: dict[tuple[str, bool], Mark] = {}
        self._prefixes: dict[str, Mark] = {}
        self._number = 0

    def add(self, text: str, *, is_prefix: bool, until: float) -> Mark:
        """Distrust a key or a prefix; return the mark."""
        self._number += 1
        mark = Mark(text, is_prefix, until, self._number)
        if len(self._marks) >= MOST:
            mark = Mark("", True, max(until, *(each.until for each in self._marks.values())), self._number)
            self._marks.clear()
            self._prefixes.clear()
        self._marks[mark.text, mark.is_prefix] = mark
        if mark.is_prefix:
            self._prefixes[mark.text] = mark
        return mark

    def of(self, key: str, now: float) -> list[Mark]:
        """Return the marks that a key is under."""
        if not self._marks:
            return []
        found = [each for prefix, each in self._prefixes.items() if key.startswith(prefix)]
        found += [mark] if (mark := self._marks.get((key, False))) else []
        for each in found:
            if now >= each.until:
                self.remove(each)
        return [each for each in found if now < each.until]

    def remove(self, mark: Mark) -> bool:
        """End a mark and return True; a newer one of the same text stays, and so do others when all are one."""
        place = mark.text, mark.is_prefix
        if self._marks.get(place) != mark:
            return False
        del self._marks[place]
        if mark.is_prefix:
            del self._prefixes[mark.text]
        return True
