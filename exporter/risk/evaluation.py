"""Figures of all portfolios at once; pure.

Profits are those that the present positions would have had in each step of the history (historical simulation). See
`measures` for the conventions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exporter.risk.figure import Figure, too_few, unknown, without_price
from exporter.risk.measures import (
    CONFIDENCES,
    DECAY,
    MINIMUM,
    Array,
    Tails,
    concentration,
    correlations,
    deviations,
    drawdowns,
    exponential_weights,
    needed,
)
from exporter.risk.portfolios import Book

METHODS = ("historical", "exponential")


class Market(NamedTuple):
    """Present prices of the symbols of a book, NaN where there is no fresh one, and their prices in the past.

    `history` has a row for each step, the oldest first, and a column for each symbol.
    """

    prices: Array
    history: Array


class TailKey(NamedTuple):
    """A method, one of `METHODS`, and a confidence, one of `CONFIDENCES`."""

    method: str
    confidence: float


TAIL_KEYS = tuple(TailKey(method, confidence) for method in METHODS for confidence in CONFIDENCES)


class SymbolRisk(NamedTuple):
    """What one unit of a symbol risks, as shares of its price; a long position's."""

    price: Figure
    volatility: Figure
    exponential_volatility: Figure
    maximum_drawdown: Figure
    var: dict[TailKey, Figure]
    cvar: dict[TailKey, Figure]


class PortfolioRisk(NamedTuple):
    """The figures of a portfolio: amounts are in the currency of its prices.

    `value` is cash and all positions, `total` the sum of their absolute exposures, `leverage` the total by the value,
    infinite for a value that is not above 0. Volatilities are shares of the value.
    """

    value: Figure
    total: Figure
    leverage: Figure
    volatility: Figure
    exponential_volatility: Figure
    hhi: Figure
    largest_share: Figure
    largest_symbol: str
    mean_correlation: Figure
    var: dict[TailKey, Figure]
    cvar: dict[TailKey, Figure]


class Evaluation:
    """The figures of a book in a market, from arrays that are computed at once for all portfolios.

    `minimum` returns are needed for each figure of the history, more for high confidences.
    """

    def __init__(self, book: Book, market: Market, *, decay: float = DECAY, minimum: int = MINIMUM) -> None:
        self.book, self.market = book, market
        self._minimum = max(2, minimum)
        positive = np.where(market.history > 0, market.history, np.nan)
        self.returns: Array = positive[1:] / positive[:-1] - 1
        self.exposures: Array = np.where(book.holds, book.quantities * np.nan_to_num(market.prices), 0.0)
        self._is_missing = np.isnan(self.returns)
        self.profits = self._profits()
        self._weights = exponential_weights(len(self.returns), decay)
        self._tails = _TailFigures(-self.profits, self._weights, self._minimum)
        self._deviations = [deviations(self.profits.T, weights) for weights in (None, self._weights)]
        self.correlations = correlations(self.returns, self._minimum)
        self._together = self._mean_correlations()

    def portfolios(self) -> dict[str, PortfolioRisk]:
        """Return the figures of each portfolio."""
        return {name: self._portfolio(row) for row, name in enumerate(self.book.names)}

    def symbols(self) -> dict[str, SymbolRisk]:
        """Return the figures of each symbol."""
        tails = _TailFigures(-self.returns.T, self._weights, self._minimum)
        spreads = [deviations(self.returns, weights) for weights in (None, self._weights)]
        falls = drawdowns(self.market.history)
        counts = (~self._is_missing).sum(axis=0)
        return {
            symbol: self._symbol(column, int(counts[column]), tails, spreads, falls)
            for column, symbol in enumerate(self.book.symbols)
        }

    def volatilities(self) -> dict[str, float]:
        """Return the volatility of each symbol that has one, as a share of its price."""
        counts = (~self._is_missing).sum(axis=0)
        found = deviations(self.returns)
        return {
            symbol: float(found[column])
            for column, symbol in enumerate(self.book.symbols)
            if counts[column] >= self._minimum
        }

    def _profits(self) -> Array:
        """Return a row of profits for each portfolio; NaN in steps that lack the return of a symbol that it holds."""
        found = self.exposures @ np.where(self._is_missing, 0.0, self.returns).T
        if self._is_missing.any():
            lacking = self.book.holds.astype(np.float32) @ self._is_missing.T.astype(np.float32)
            found[lacking > 0] = np.nan
        return np.asarray(found)

    def _portfolio(self, row: int) -> PortfolioRisk:
        if missing := self.book.without_price(row, self.market.prices):
            lost = without_price(missing)
            every = dict.fromkeys(TAIL_KEYS, lost)
            return PortfolioRisk(lost, lost, lost, lost, lost, lost, lost, "", lost, every, every)
        exposures = self.exposures[row]
        value, total = float(self.book.cash[row] + exposures.sum()), float(np.abs(exposures).sum())
        leverage = total / value if value > 0 else float("inf") if total else 0.0
        count = int((~np.isnan(self.profits[row])).sum())
        spread, exponential = [self._share(count, float(each[row]), value) for each in self._deviations]
        shares, none = concentration(exposures), unknown("no positions")
        var, cvar = self._tails.of(row)
        return PortfolioRisk(
            value=Figure(value),
            total=Figure(total),
            leverage=Figure(leverage),
            volatility=spread,
            exponential_volatility=exponential,
            hhi=none if shares is None else Figure(shares.hhi),
            largest_share=none if shares is None else Figure(shares.largest_share),
            largest_symbol="" if shares is None else self.book.symbols[shares.largest],
            mean_correlation=self._correlation(row),
            var=var,
            cvar=cvar,
        )

    def _correlation(self, row: int) -> Figure:
        if np.count_nonzero(self.exposures[row]) < 2:
            return unknown("fewer than 2 positions")
        found = float(self._together[row])
        return Figure(found) if found == found else unknown("a symbol without enough changes")  # NaN

    def _share(self, count: int, amount: float, value: float) -> Figure:
        if count < self._minimum:
            return too_few(count, self._minimum)
        return Figure(amount / value) if value > 0 else unknown("no value above 0")

    def _mean_correlations(self) -> Array:
        """Return the mean correlation of each two symbols of each portfolio, weighted by both exposures."""
        sizes = np.abs(self.exposures)
        others = self.correlations.copy()
        np.fill_diagonal(others, 0.0)
        unclear = np.isnan(others)
        weighted = ((sizes @ np.where(unclear, 0.0, others)) * sizes).sum(axis=1)
        pairs = (sizes * (sizes.sum(axis=1, keepdims=True) - sizes)).sum(axis=1)
        if unclear.any():
            pairs[((sizes @ unclear) * sizes).sum(axis=1) > 0] = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(weighted / pairs)

    def _symbol(self, column: int, count: int, tails: _TailFigures, spreads: list[Array], falls: Array) -> SymbolRisk:
        few = too_few(count, self._minimum) if count < self._minimum else None
        price, fall = float(self.market.prices[column]), float(falls[column])
        spread, exponential = [few or Figure(float(each[column])) for each in spreads]
        var, cvar = tails.of(column)
        return SymbolRisk(
            price=Figure(price) if price == price else without_price([self.book.symbols[column]]),  # NaN
            volatility=spread,
            exponential_volatility=exponential,
            maximum_drawdown=Figure(fall) if fall == fall else unknown("no price above 0"),
            var=var,
            cvar=cvar,
        )


class _TailFigures:
    """VaR and CVaR of rows of losses, for each method and confidence."""

    def __init__(self, losses: Array, weights: Array, minimum: int) -> None:
        tails = Tails(losses)
        self._counts = tails.counts.tolist()
        found = [each for shares in (None, weights) for each in tails.at(CONFIDENCES, shares)]
        least = [needed(key.confidence, minimum) for key in TAIL_KEYS]
        self._columns = [
            (key, count, each.var.tolist(), each.cvar.tolist())
            for key, count, each in zip(TAIL_KEYS, least, found, strict=True)
        ]

    def of(self, row: int) -> tuple[dict[TailKey, Figure], dict[TailKey, Figure]]:
        """Return the figures of VaR and of CVaR of a row."""
        count = self._counts[row]
        var, cvar = dict[TailKey, Figure](), dict[TailKey, Figure]()
        for key, least, at_risk, shortfall in self._columns:
            few = too_few(count, least) if count < least else None
            var[key], cvar[key] = few or Figure(at_risk[row]), few or Figure(shortfall[row])
        return var, cvar
