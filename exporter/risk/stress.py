"""What scenarios would do to portfolios; pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np

from exporter.config.risk_schema import SCENARIOS, Scenario
from exporter.risk.evaluation import Market
from exporter.risk.figure import Figure, too_few, without_price
from exporter.risk.measures import CONFIDENCES, MINIMUM, Array, Tails, needed, simple_returns
from exporter.risk.portfolios import Book


class StressResult(NamedTuple):
    """A portfolio in a scenario: its loss at once and its value after it, then VaR and CVaR by confidence.

    The loss is that of the changed prices, and the cost of liquidity on all that is held. VaR and CVaR are historical
    ones of the positions at the changed prices, with the returns of the scenario.
    """

    loss: Figure
    value: Figure
    total: Figure
    leverage: Figure
    var: dict[float, Figure]
    cvar: dict[float, Figure]


class StressTestEngine:
    """Applies scenarios to the portfolios of a book: the four usual ones, and others, which may replace them by name.

    - A change of prices is applied to each symbol that one of its globs fits.
    - A volatility of 3 widens each return of the history to three times itself.
    - A liquidity of 0.05 costs 5 % of the absolute exposures, after the change of prices.
    - Correlations of 1 let the symbols have their worst steps together, their second worst together, and so on.
    """

    def __init__(self, scenarios: Iterable[Scenario] = (), *, minimum: int = MINIMUM) -> None:
        self.scenarios = {each.name: each for each in (*SCENARIOS, *scenarios)}
        self._minimum = minimum

    def run(self, book: Book, market: Market) -> dict[str, dict[str, StressResult]]:
        """Return the result of each portfolio in each scenario: by portfolio, then by scenario."""
        returns = simple_returns(market.history)
        return {
            name: {each.name: self._apply(each, book, row, market, returns) for each in self.scenarios.values()}
            for row, name in enumerate(book.names)
        }

    def _apply(self, scenario: Scenario, book: Book, row: int, market: Market, returns: Array) -> StressResult:
        if missing := book.without_price(row, market.prices):
            lost = without_price(missing)
            every = dict.fromkeys(CONFIDENCES, lost)
            return StressResult(lost, lost, lost, lost, every, every)
        columns = np.flatnonzero(book.holds[row])
        before = book.quantities[row, columns] * market.prices[columns]
        after = before * (1 + np.array([change(scenario, book.symbols[column]) for column in columns]))
        total = float(np.abs(after).sum())
        loss = float((before - after).sum()) + scenario.liquidity * total
        value = float(book.cash[row] + before.sum()) - loss
        leverage = total / value if value > 0 else float("inf") if total else 0.0
        tails = self._tails(scenario, after, returns[:, columns])
        return StressResult(Figure(loss), Figure(value), Figure(total), Figure(leverage), *tails)

    def _tails(
        self, scenario: Scenario, exposures: Array, returns: Array
    ) -> tuple[dict[float, Figure], dict[float, Figure]]:
        rows = returns[~np.isnan(returns).any(axis=1)]
        count = len(rows)
        if scenario.correlations_to_one:
            rows = np.sort(rows, axis=0)
        losses = -scenario.volatility * (rows @ exposures)
        found = Tails(losses).at(CONFIDENCES) if count else []
        var, cvar = dict[float, Figure](), dict[float, Figure]()
        for number, confidence in enumerate(CONFIDENCES):
            least = needed(confidence, self._minimum)
            few = too_few(count, least) if count < least else None
            var[confidence] = few or Figure(float(found[number].var[0]))
            cvar[confidence] = few or Figure(float(found[number].cvar[0]))
        return var, cvar


def change(scenario: Scenario, symbol: str) -> float:
    """Return the relative change of the price of a symbol in a scenario; 0 if no glob fits it."""
    fitting = [share for glob, share in scenario.prices.items() if fnmatchcase(symbol, glob)]
    return fitting[-1] if fitting else 0.0
