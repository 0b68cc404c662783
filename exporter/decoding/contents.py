"""What the rows of a batch have: prices, and timestamps that can be times. Pure."""

from __future__ import annotations

import re

from msgspec import Raw

from exporter.decoding.batch import LEVELS, MAX_TIMESTAMP_MS, MIN_TIMESTAMP_MS, NO_JSON, Message

# Fields of which a feed with prices has at least one; levels of an order book are prices.
PRICED = ("last", "price", *LEVELS)
_NO_LEVELS = (b"", b"null")
# Kinds of data that have no price by nature, however their words are joined.
_WITHOUT_PRICES = re.compile(
    r"(?:funding|open_?interest|status|notice|announcement|balance|position|heartbeat|volume)(?:_?(?:rate|data|info|s))?",
    re.IGNORECASE,
)


def has(row: Message, name: str) -> bool:
    """Return whether a row has a field; a timestamp that is no Unix time in milliseconds is none."""
    value = getattr(row, name)
    if name in LEVELS:
        return has_levels(value)
    if name == "timestamp":
        return bool(value) and MIN_TIMESTAMP_MS <= value <= MAX_TIMESTAMP_MS
    return value is not None


def has_levels(side: Raw) -> bool:
    """Return whether a side of an order book has levels."""
    return side is not NO_JSON and bytes(side) not in _NO_LEVELS


def expects_prices(request_type: str) -> bool:
    """Return whether feeds of this kind have prices: all but those known to have none."""
    return _WITHOUT_PRICES.fullmatch(request_type.replace("-", "_")) is None
