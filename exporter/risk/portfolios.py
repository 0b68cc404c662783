"""Portfolios: what is held of each symbol. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exporter.risk.measures import Array
from exporter.risk.plausibility import PRICE_MAX

# Of quantities and cash: products of these, of prices and of the number of positions are finite.
AMOUNT_MAX = 1e18


@dataclass(frozen=True)
class Portfolio:
    """Quantities of symbols, negative for short positions, and cash; all prices are in the currency of the cash.

    `volumes` are the quantities of symbols that are traded in one step, where they are known.
    """

    name: str
    quantities: Mapping[str, float]
    cash: float = 0.0
    volumes: Mapping[str, float] = field(default_factory=dict)


class Book:
    """Portfolios as a matrix: a row for each of `names`, a column for each of `symbols` that any of them holds."""

    def __init__(self, portfolios: Iterable[Portfolio]) -> None:
        self.portfolios = {each.name: each for each in portfolios}
        self.names = tuple(self.portfolios)
        held = {symbol for each in self.portfolios.values() for symbol, quantity in each.quantities.items() if quantity}
        self.symbols = tuple(sorted(held))
        self.columns = {symbol: column for column, symbol in enumerate(self.symbols)}
        self.quantities: Array = np.zeros((len(self.names), len(self.symbols)))
        for row, each in enumerate(self.portfolios.values()):
            for symbol, quantity in each.quantities.items():
                if quantity:
                    self.quantities[row, self.columns[symbol]] = quantity
        self.cash: Array = np.array([each.cash for each in self.portfolios.values()], np.float64)
        self.holds: NDArray[np.bool_] = self.quantities != 0

    def prices(self, prices: Mapping[str, float]) -> Array:
        """Return the price of each symbol; NaN for one that has none above 0 and up to `PRICE_MAX`."""
        found = np.array([prices.get(symbol, np.nan) for symbol in self.symbols], np.float64)
        return np.where((found > 0) & (found <= PRICE_MAX), found, np.nan)

    def without_price(self, row: int, prices: Array) -> list[str]:
        """Return the symbols of a portfolio that have no price."""
        return [self.symbols[column] for column in np.flatnonzero(self.holds[row] & np.isnan(prices))]
