"""Changes that make valid batches of tickers suspicious, and the anomaly that each must be counted as. Pure.

A wrong `batch_size` and unchanged rows are not among them: see `exporter.tools.simulate.market.SimulatedFeed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from exporter.model import Anomaly

Batch = dict[str, Any]

_AHEAD_MS = 60_000


class AnomalyMutation(NamedTuple):
    """A change that causes an anomaly; `apply` returns a changed copy of a batch."""

    kind: Anomaly
    apply: Callable[[Batch], Batch]


def _last_row(batch: Batch, **fields: object) -> Batch:
    *rows, last = batch["data"]
    return {**batch, "data": [*rows, {**last, **fields}]}


def _no_price(batch: Batch) -> Batch:
    return _last_row(batch, last=0.0, low=0.0, high=0.0)


def _range(below: float, above: float) -> Callable[[Batch], Batch]:
    """Return a function that sets the day's range to these multiples of the last price."""

    def apply(batch: Batch) -> Batch:
        price = batch["data"][-1]["last"]
        return _last_row(batch, low=price * below, high=price * above)

    return apply


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


KINDS: tuple[AnomalyMutation, ...] = (
    AnomalyMutation(Anomaly.INVALID_PRICE, _no_price),
    AnomalyMutation(Anomaly.INVERTED_RANGE, _range(1.01, 0.99)),
    AnomalyMutation(Anomaly.PRICE_OUT_OF_RANGE, _range(0.98, 0.99)),
    AnomalyMutation(Anomaly.PRICE_JUMP, _jump),
    AnomalyMutation(Anomaly.FUTURE_BATCH, _future_batch),
    AnomalyMutation(Anomaly.FUTURE_MESSAGE, _future_message),
    AnomalyMutation(Anomaly.IMPLAUSIBLE_STAMP, _in_seconds),
    AnomalyMutation(Anomaly.UNREADABLE_FIELD, _in_words),
)
