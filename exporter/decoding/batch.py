"""A batch and its rows: the part of a collector's record that the sidecar uses."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

# Year 9999, the last with four digits in ISO 8601.
MAX_TIMESTAMP_MS = 253_402_300_799_999
# Year 2000: an earlier number is a Unix time in seconds, or a default.
MIN_TIMESTAMP_MS = 946_684_800_000

NO_JSON = msgspec.Raw(b"")
# Fields of a row beside its symbol and stamp; levels are kept as JSON.
PRICES = ("last", "high", "low", "price")
LEVELS = ("asks", "bids", "units")
# All optional fields of a batch and its rows; the last stands for a place in no field.
ELSEWHERE = "other"
FIELDS = ("batch_size", "timestamp", *PRICES, *LEVELS, ELSEWHERE)


class Message(msgspec.Struct, gc=False):
    """One row of a batch, with the fields of its kind: a ticker has `last`, a trade `price`, an order book its levels.

    `timestamp` is the exchange's in Unix milliseconds, 0 when the row has none, None when it is null or cannot be
    read. The levels are undecoded JSON, empty when the row has none.
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
    """A decoded record. `batch_size` is the number that the collector declared, which may be wrong."""

    exchange: str
    region: str
    request_type: str
    timestamp_ms: int
    data: list[Message]
    batch_size: int | float | None = None


class PartialBatch(Batch, gc=False):
    """A batch without its unreadable optional fields; `unreadable` counts them by their names in `FIELDS`."""

    unreadable: Mapping[str, int] = {}
