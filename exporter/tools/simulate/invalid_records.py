"""Changes that make a record invalid, and the reason for which each must be rejected. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import orjson

from exporter.model import Reason

Batch = dict[str, object]

_DEEP = 1000
_LONG = 1000


class InvalidMutation(NamedTuple):
    """A change that makes a record invalid; `apply` returns the record of a valid batch with at least one row."""

    name: str
    reason: Reason
    apply: Callable[[Batch], bytes]


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


KINDS: tuple[InvalidMutation, ...] = (
    InvalidMutation("empty", Reason.EMPTY, lambda batch: b""),
    InvalidMutation("truncated_json", Reason.INVALID_JSON, _truncated),
    InvalidMutation("not_json", Reason.INVALID_JSON, lambda batch: b"<html><body>502 Bad Gateway</body></html>"),
    InvalidMutation("not_utf8", Reason.INVALID_UTF8, _not_utf8),
    InvalidMutation("too_deep", Reason.TOO_DEEP, _too_deep),
    InvalidMutation("no_data", Reason.MISSING_FIELD, lambda batch: orjson.dumps(_without(batch, "data"))),
    InvalidMutation("no_exchange", Reason.MISSING_FIELD, lambda batch: orjson.dumps(_without(batch, "exchange"))),
    InvalidMutation("row_without_symbol", Reason.MISSING_FIELD, lambda batch: orjson.dumps({**batch, "data": [{}]})),
    InvalidMutation("list_of_batches", Reason.WRONG_TYPE, lambda batch: orjson.dumps([batch])),
    InvalidMutation("data_is_text", Reason.WRONG_TYPE, lambda batch: orjson.dumps({**batch, "data": "none"})),
    InvalidMutation(
        "timestamp_is_text", Reason.WRONG_TYPE, lambda batch: orjson.dumps({**batch, "timestamp_ms": "now"})
    ),
    InvalidMutation("symbol_is_a_number", Reason.WRONG_TYPE, lambda batch: orjson.dumps(_with_symbol(batch, 7))),
    InvalidMutation(
        "negative_timestamp", Reason.INVALID_TIMESTAMP, lambda batch: orjson.dumps({**batch, "timestamp_ms": -1})
    ),
    InvalidMutation(
        "endless_exchange", Reason.INVALID_FEED, lambda batch: orjson.dumps({**batch, "exchange": "x" * _LONG})
    ),
    InvalidMutation(
        "endless_symbol", Reason.INVALID_SYMBOL, lambda batch: orjson.dumps(_with_symbol(batch, "X" * _LONG))
    ),
)
