"""Limits on the names in a record: length and alphabet. A name that passes is safe as a label value and a key. Pure."""

from __future__ import annotations

import re

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
