"""Which topics have names like one that is not there, or like those that a pattern spells. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice

from exporter.config.subscription import INTERNAL

ENOUGH = 0.55  # of 1, which is the same name
SPELLED_MAX = 20

_GROUP = re.compile(r"\(([^()]*)\)")
_NO_LETTERS = re.compile(r"\[:\w+:\]|[^\w.-]")


def near(entry: str, names: Iterable[str], count: int) -> list[str]:
    """Return so many names at most, the nearest first for each way to spell the entry."""
    known = {name.lower(): name for name in names if not name.startswith(INTERNAL)}
    found: dict[str, None] = {}
    for letters in islice(_spelled(entry.lower()), SPELLED_MAX):
        found |= dict.fromkeys(get_close_matches(letters, sorted(known), count, ENOUGH))
    return [known[name] for name in islice(found, count)]


def _spelled(entry: str) -> Iterator[str]:
    """Yield the letters of an entry, once for each choice among its alternatives."""
    if group := _GROUP.search(entry):
        for way in group[1].split("|"):
            yield from _spelled(entry[: group.start()] + way + entry[group.end() :])
    else:
        yield _NO_LETTERS.sub("", entry)
