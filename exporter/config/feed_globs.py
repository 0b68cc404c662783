"""Globs over the names of feeds, `region:exchange:request_type`: the only place that matches them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache

from exporter.model import FeedKey

# One pattern for each rule of a configuration, which allows 1000 rules in each of two lists.
_PATTERNS = 4096


def matches(globs: Iterable[str], feed: FeedKey) -> bool:
    """Return whether one of the globs matches the feed; case matters."""
    return _compiled(tuple(globs)).match(str(feed)) is not None


def is_glob(text: str) -> bool:
    """Return whether a text can match more than the feed of that name."""
    return any(character in text for character in "*?[")


@lru_cache(_PATTERNS)
def _compiled(globs: tuple[str, ...]) -> re.Pattern[str]:
    # Without globs: a pattern that matches nothing.
    return re.compile("|".join(translate(glob) for glob in globs) or r"(?!)")


class FeedFilter:
    """The feeds to analyze: those that a glob of `include` matches and none of `exclude` does."""

    def __init__(self, include: Iterable[str], exclude: Iterable[str]) -> None:
        # Kept compiled: each record of a feed that is filtered out is compared.
        self._include = _compiled(tuple(include))
        self._exclude = _compiled(tuple(exclude))

    def wants(self, feed: FeedKey) -> bool:
        """Return whether the feed is included and not excluded."""
        name = str(feed)
        return self._include.match(name) is not None and self._exclude.match(name) is None
