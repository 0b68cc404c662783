"""Simulated markets: instruments whose prices drift, and the rows that a collector reads from an exchange.

Pure: time and randomness are arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from random import Random

Row = dict[str, object]

_BASES = (
    "BTC", "ETH", "XRP", "SOL", "ADA", "DOGE", "TRX", "LINK", "AVAX", "DOT", "BCH", "LTC", "ETC", "XLM", "ATOM",
    "NEAR", "APT", "ARB", "SUI", "SEI", "HBAR", "VET", "SAND", "MANA", "AXS", "EGLD", "FLOW", "THETA", "NEO", "QTUM",
)  # fmt: skip
_LEVELS = 10


def symbol_names(pattern: str, count: int) -> list[str]:
    """Return `count` distinct names such as KRW-BTC, made from a pattern such as `KRW-{}`."""
    return [pattern.format(base_name(index)) for index in range(count)]


def base_name(index: int) -> str:
    """Return the name of the currency at `index`: well-known names first, then the same with a number."""
    round_number, place = divmod(index, len(_BASES))
    return _BASES[place] + (str(round_number + 1) if round_number else "")


class Instrument:
    """One symbol and its day: a price that walks at random, its first, highest and lowest price."""

    def __init__(self, symbol: str, rng: Random) -> None:
        self.symbol = symbol
        self._rng = rng
        self._drift = rng.gauss(0.0, 1e-5)
        self._volatility = 10 ** rng.uniform(-4.0, -3.0)
        self.first = self.last = self.high = self.low = _rounded(10 ** rng.uniform(-4.0, 8.0))

    def move(self) -> None:
        """Move the price by one random step."""
        step = self._rng.gauss(self._drift, self._volatility)
        self.last = _rounded(self.last * math.exp(step))
        self.high = max(self.high, self.last)
        self.low = min(self.low, self.last)

    def levels(self, direction: int) -> list[list[float]]:
        """Return the best ten offers on one side of the price: above it for +1, below it for -1."""
        tick = self.last * 1e-4
        return [
            [_rounded(self.last + direction * tick * level), _rounded(self._rng.expovariate(1.0))]
            for level in range(1, _LEVELS + 1)
        ]

    def trade(self) -> Row:
        """Return the fields of a trade at the present price."""
        size = _rounded(self._rng.expovariate(2.0))
        return {"price": self.last, "size": size, "side": self._rng.choice(("buy", "sell"))}


def _rounded(value: float) -> float:
    """Round to eight significant digits, as exchanges do."""
    return float(f"{value:.8g}")


def ticker_row(instrument: Instrument, timestamp_ms: int) -> Row:
    """Return the day of an instrument so far."""
    return {
        "target_currency": instrument.symbol,
        "timestamp": timestamp_ms,
        "first": instrument.first,
        "last": instrument.last,
        "high": instrument.high,
        "low": instrument.low,
    }


def orderbook_row(instrument: Instrument, timestamp_ms: int) -> Row:
    """Return both sides of the book, the best offers first, as pairs of price and size."""
    bids, asks = instrument.levels(-1), instrument.levels(+1)
    return {"target_currency": instrument.symbol, "timestamp": timestamp_ms, "bids": bids, "asks": asks}


def trade_row(instrument: Instrument, timestamp_ms: int) -> Row:
    """Return one trade at the present price."""
    return {"target_currency": instrument.symbol, "timestamp": timestamp_ms, **instrument.trade()}


ROWS: Mapping[str, Callable[[Instrument, int], Row]] = {
    "ticker": ticker_row,
    "orderbook": orderbook_row,
    "trade": trade_row,
}
