"""Batches of tickers that are valid, but suspicious, and the anomaly that each must be counted as.

Pure. The list is closed. `batch_size` that is wrong and rows that never change are not in it: collectors do these by
themselves, see `exporter.tools.simulate.market.Feed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from exporter.model import Anomaly

Batch = dict[str, Any]

_AHEAD_MS = 60_000


class Oddity(NamedTuple):
    """One way to make a batch suspicious; `spoil` returns another one than it takes."""

    kind: Anomaly
    spoil: Callable[[Batch], Batch]


def _last_row(batch: Batch, **fields: object) -> Batch:
    *rows, last = batch["data"]
    return {**batch, "data": [*rows, {**last, **fields}]}


def _no_price(batch: Batch) -> Batch:
    return _last_row(batch, last=0.0, low=0.0, high=0.0)


def _range(below: float, above: float) -> Callable[[Batch], Batch]:
    """Return what puts the day's range at these multiples of the last price."""

    def spoil(batch: Batch) -> Batch:
        price = batch["data"][-1]["last"]
        return _last_row(batch, low=price * below, high=price * above)

    return spoil


def _jump(batch: Batch) -> Batch:
    row = batch["data"][-1]
    return _last_row(batch, last=row["last"] * 2, high=row["high"] * 2)


def _future_batch(batch: Batch) -> Batch:
    return {**batch, "timestamp_ms": batch["timestamp_ms"] + _AHEAD_MS}


def _future_message(batch: Batch) -> Batch:
    return _last_row(batch, timestamp=batch["data"][-1]["timestamp"] + _AHEAD_MS)


def _in_seconds(batch: Batch) -> Batch:
    return _last_row(batch, timestamp=batch["data"][-1]["timestamp"] // 1000)


def _in_words(batch: Batch) -> Batch:
    return _last_row(batch, last=f"{batch['data'][-1]['last']} USD")


KINDS: tuple[Oddity, ...] = (
    Oddity(Anomaly.INVALID_PRICE, _no_price),
    Oddity(Anomaly.INVERTED_RANGE, _range(1.01, 0.99)),
    Oddity(Anomaly.PRICE_OUT_OF_RANGE, _range(0.98, 0.99)),
    Oddity(Anomaly.PRICE_JUMP, _jump),
    Oddity(Anomaly.FUTURE_BATCH, _future_batch),
    Oddity(Anomaly.FUTURE_MESSAGE, _future_message),
    Oddity(Anomaly.IMPLAUSIBLE_STAMP, _in_seconds),
    Oddity(Anomaly.UNREADABLE_FIELD, _in_words),
)
