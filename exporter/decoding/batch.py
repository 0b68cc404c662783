"""A batch and its rows as values: what a collector sent, as far as the sidecar looks at it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

# Year 9999: beyond it neither ISO 8601 with four digits nor a sensible collector goes.
MAX_TIMESTAMP_MS = 253_402_300_799_999

NO_JSON = msgspec.Raw(b"")
# Fields of a row beside its symbol and stamp; levels are kept as JSON.
PRICES = ("last", "high", "low", "price")
LEVELS = ("asks", "bids", "units")
# All that a batch may have and need not have; what stands elsewhere is in the last.
ELSEWHERE = "other"
FIELDS = ("batch_size", "timestamp", *PRICES, *LEVELS, ELSEWHERE)


class Message(msgspec.Struct, gc=False):
    """One row of a batch, as far as its kind goes: a ticker has `last`, a trade `price`, an order book its levels.

    `timestamp` is the exchange's stamp in Unix milliseconds, 0 when the row has none, None when it is null or cannot
    be read. The levels are JSON as it came, not yet read, and without a byte when the row has none.
    """

    symbol: str
    timestamp: int | float | None = 0
    last: float | None = None
    high: float | None = None
    low: float | None = None
    price: float | None = None
    asks: msgspec.Raw = NO_JSON
    bids: msgspec.Raw = NO_JSON
    units: msgspec.Raw = NO_JSON


class Batch(msgspec.Struct, gc=False):
    """A decoded record. `batch_size` is what the collector declared, never what is counted."""

    exchange: str
    region: str
    request_type: str
    timestamp_ms: int
    data: list[Message]
    batch_size: int | float | None = None


class PartialBatch(Batch, gc=False):
    """A batch without the optional fields that could not be read: how many of each name in `FIELDS`."""

    unreadable: Mapping[str, int] = {}
