"""What scenarios would do to portfolios; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np

from exporter.config.risk_schema import SCENARIOS, Scenario
from exporter.risk.evaluation import Market
from exporter.risk.figure import Figure, too_few, without_price
from exporter.risk.measures import CONFIDENCES, MINIMUM, Array, TailRisk, Tails, needed, simple_returns
from exporter.risk.portfolios import Book
from exporter.risk.symbols import split


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
        found: dict[str, dict[str, StressResult]] = {name: {} for name in book.names}
        for scenario in self.scenarios.values():
            for name, result in zip(book.names, self._results(scenario, book, market, returns), strict=True):
                found[name][scenario.name] = result
        return found

    def _results(self, scenario: Scenario, book: Book, market: Market, returns: Array) -> Iterator[StressResult]:
        """Yield the result of each portfolio."""
        before = np.where(book.holds, book.quantities * np.nan_to_num(market.prices), 0.0)
        after = before * (1 + np.array([change(scenario, symbol) for symbol in book.symbols]))
        totals = np.abs(after).sum(axis=1)
        losses = (before - after).sum(axis=1) + scenario.liquidity * totals
        values = book.cash + before.sum(axis=1) - losses
        tails = Tails(-scenario.volatility * self._profits(scenario, book, after, returns))
        risks = tails.at(CONFIDENCES)
        for row, (loss, value, total) in enumerate(zip(losses.tolist(), values.tolist(), totals.tolist(), strict=True)):
            if missing := book.without_price(row, market.prices):
                lost = without_price(missing)
                every = dict.fromkeys(CONFIDENCES, lost)
                yield StressResult(lost, lost, lost, lost, every, every)
                continue
            leverage = total / value if value > 0 else float("inf") if total else 0.0
            var, cvar = self._tails(risks, row, int(tails.counts[row]))
            yield StressResult(Figure(loss), Figure(value), Figure(total), Figure(leverage), var, cvar)

    def _profits(self, scenario: Scenario, book: Book, exposures: Array, returns: Array) -> Array:
        """Return a row of profits for each portfolio; NaN in steps that lack the return of a symbol that it holds."""
        missing = np.isnan(returns)
        if not scenario.correlations_to_one or not missing.any():
            moves = np.sort(returns, axis=0) if scenario.correlations_to_one else returns
            found = exposures @ np.where(missing, 0.0, moves).T
            found[(book.holds.astype(np.float32) @ missing.T.astype(np.float32)) > 0] = np.nan
            return np.asarray(found)
        found = np.full((len(book.names), len(returns)), np.nan)
        for row, holds in enumerate(book.holds):
            # Only steps in which all its symbols have a return can be put in order together.
            rows = np.sort(returns[~missing[:, holds].any(axis=1)][:, holds], axis=0)
            found[row, : len(rows)] = rows @ exposures[row, holds]
        return found

    def _tails(self, risks: list[TailRisk], row: int, count: int) -> tuple[dict[float, Figure], dict[float, Figure]]:
        var, cvar = dict[float, Figure](), dict[float, Figure]()
        for confidence, risk in zip(CONFIDENCES, risks, strict=True):
            least = needed(confidence, self._minimum)
            few = too_few(count, least) if count < least else None
            var[confidence] = few or Figure(float(risk.var[row]))
            cvar[confidence] = few or Figure(float(risk.cvar[row]))
        return var, cvar


def change(scenario: Scenario, symbol: str) -> float:
    """Return the relative change of the price of a symbol, with or without its feed; 0 if no glob fits it."""
    _, name = split(symbol)
    fitting = [share for glob, share in scenario.prices.items() if fnmatchcase(symbol, glob) or fnmatchcase(name, glob)]
    return fitting[-1] if fitting else 0.0
