"""Limits on what may become a label value or a key: length, alphabet, and which feeds are wanted at all.

Pure. What comes in here has been written by somebody else; what passes is safe to show and to keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

from exporter.model import FeedKey, Reason, Rejected

# Feed values become labels, Kafka keys and parts of `region:exchange:request_type`, so the colon is not among them.
_FEED_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_feed(feed: FeedKey, name_length: int) -> None:
    """Raise `Rejected` unless each value has 1 to `name_length` ASCII letters, digits, `.`, `_` or `-`."""
    for field, value in zip(feed._fields, feed, strict=True):
        if len(value) > name_length or not _FEED_VALUE.fullmatch(value):
            allowed = f"1 to {name_length} letters, digits, '.', '_' or '-'"
            raise Rejected(Reason.INVALID_FEED, f"{field} is {value[:name_length]!r}, allowed are {allowed}")


def check_symbol(symbol: str, name_length: int) -> None:
    """Raise `Rejected` unless the symbol has 1 to `name_length` printable characters (of any alphabet)."""
    if not 0 < len(symbol) <= name_length or not symbol.isprintable():
        allowed = f"1 to {name_length} printable characters"
        raise Rejected(Reason.INVALID_SYMBOL, f"a symbol is {symbol[:name_length]!r}, allowed are {allowed}")


class FeedFilter:
    """Tells which feeds are wanted, by globs over `region:exchange:request_type`; `exclude` wins."""

    def __init__(self, include: Iterable[str], exclude: Iterable[str]) -> None:
        self._include = _any_of(include)
        self._exclude = _any_of(exclude)

    def wants(self, feed: FeedKey) -> bool:
        """Return whether the feed is included and not excluded."""
        name = str(feed)
        return bool(self._include.match(name)) and not self._exclude.match(name)


def _any_of(globs: Iterable[str]) -> re.Pattern[str]:
    # Without globs: a pattern that nothing matches.
    return re.compile("|".join(translate(glob) for glob in globs) or r"(?!)")
