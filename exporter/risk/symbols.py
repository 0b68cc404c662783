"""Symbols of positions, which may name their feed: `korea:upbit:ticker/KRW-BTC`. Pure."""

from __future__ import annotations

SEPARATOR = "/"


def split(symbol: str) -> tuple[str, str]:
    """Return the feed that a symbol names, empty if it names none, and the symbol without it."""
    feed, separator, name = symbol.partition(SEPARATOR)
    return (feed, name) if separator and feed.count(":") == 2 else ("", symbol)
