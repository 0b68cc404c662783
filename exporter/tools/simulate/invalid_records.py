"""Records that are no batches, and the reason for which each must be rejected.

Pure. The list is closed: a record is spoiled in one of these ways, and whoever reads it must find exactly that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import orjson

from exporter.model import Reason

Batch = dict[str, object]

_DEEP = 1000
_LONG = 1000


class Garbage(NamedTuple):
    """One way to spoil a batch; `spoil` takes the batch as a collector would send it, with at least one row."""

    name: str
    reason: Reason
    spoil: Callable[[Batch], bytes]


def _truncated(batch: Batch) -> bytes:
    value = orjson.dumps(batch)
    return value[: len(value) // 2]


def _not_utf8(batch: Batch) -> bytes:
    return orjson.dumps(_with_symbol(batch, "@")).replace(b'"@"', b'"\xff\xfe"')


def _too_deep(batch: Batch) -> bytes:
    return orjson.dumps(batch)[:-1] + b',"extra":' + b"[" * _DEEP + b"]" * _DEEP + b"}"


def _with_symbol(batch: Batch, symbol: object) -> Batch:
    return {**batch, "data": [{"target_currency": symbol}]}


def _without(batch: Batch, field: str) -> Batch:
    return {name: value for name, value in batch.items() if name != field}


KINDS: tuple[Garbage, ...] = (
    Garbage("empty", Reason.EMPTY, lambda batch: b""),
    Garbage("truncated_json", Reason.INVALID_JSON, _truncated),
    Garbage("not_json", Reason.INVALID_JSON, lambda batch: b"<html><body>502 Bad Gateway</body></html>"),
    Garbage("not_utf8", Reason.INVALID_UTF8, _not_utf8),
    Garbage("too_deep", Reason.TOO_DEEP, _too_deep),
    Garbage("no_data", Reason.MISSING_FIELD, lambda batch: orjson.dumps(_without(batch, "data"))),
    Garbage("no_exchange", Reason.MISSING_FIELD, lambda batch: orjson.dumps(_without(batch, "exchange"))),
    Garbage("row_without_symbol", Reason.MISSING_FIELD, lambda batch: orjson.dumps({**batch, "data": [{}]})),
    Garbage("list_of_batches", Reason.WRONG_TYPE, lambda batch: orjson.dumps([batch])),
    Garbage("data_is_text", Reason.WRONG_TYPE, lambda batch: orjson.dumps({**batch, "data": "none"})),
    Garbage("timestamp_is_text", Reason.WRONG_TYPE, lambda batch: orjson.dumps({**batch, "timestamp_ms": "now"})),
    Garbage("symbol_is_a_number", Reason.WRONG_TYPE, lambda batch: orjson.dumps(_with_symbol(batch, 7))),
    Garbage("negative_timestamp", Reason.INVALID_TIMESTAMP, lambda batch: orjson.dumps({**batch, "timestamp_ms": -1})),
    Garbage("endless_exchange", Reason.INVALID_FEED, lambda batch: orjson.dumps({**batch, "exchange": "x" * _LONG})),
    Garbage("endless_symbol", Reason.INVALID_SYMBOL, lambda batch: orjson.dumps(_with_symbol(batch, "X" * _LONG))),
)
