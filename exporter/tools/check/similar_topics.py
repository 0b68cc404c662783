"""Finds topics with names similar to a missing one, or to the names that a pattern covers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice

from exporter.config.subscription import INTERNAL

LEAST_SIMILARITY = 0.55  # 1 is the same name
SPELLED_MAX = 20

_GROUP = re.compile(r"\(([^()]*)\)")
_NO_LETTERS = re.compile(r"\[:\w+:\]|[^\w.-]")


def similar(entry: str, names: Iterable[str], count: int) -> list[str]:
    """Return up to `count` similar names, the most similar first for each alternative of the entry."""
    known = {name.lower(): name for name in names if not name.startswith(INTERNAL)}
    found: dict[str, None] = {}
    for letters in islice(_spelled(entry.lower()), SPELLED_MAX):
        found |= dict.fromkeys(get_close_matches(letters, sorted(known), count, LEAST_SIMILARITY))
    return [known[name] for name in islice(found, count)]


def _spelled(entry: str) -> Iterator[str]:
    """Yield the letters of an entry for each of its alternatives."""
    if group := _GROUP.search(entry):
        for way in group[1].split("|"):
            yield from _spelled(entry[: group.start()] + way + entry[group.end() :])
    else:
        yield _NO_LETTERS.sub("", entry)
