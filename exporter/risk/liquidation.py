"""The order in which a portfolio could be sold: a plan, never an order; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from exporter.risk.figure import Figure, unknown
from exporter.risk.portfolios import Portfolio


class LiquidationStep(NamedTuple):
    """A position to close, at the price that is known, and the share of the price that its closing moves."""

    symbol: str
    side: Literal["sell", "buy"]
    quantity: float
    price: float | None
    exposure: float | None
    impact: Figure


def liquidation_plan(
    portfolio: Portfolio, prices: Mapping[str, float], volatilities: Mapping[str, float]
) -> list[LiquidationStep]:
    """Return the positions to close, that with the smallest market impact first.

    The impact is that of the square-root law, `volatility * sqrt(quantity / volume)` over one step. Where the volume,
    the volatility or the price is unknown, so is the impact: these come last, the smallest exposure first.
    """
    steps = [
        _step(symbol, quantity, prices.get(symbol), volatilities.get(symbol), portfolio.volumes.get(symbol))
        for symbol, quantity in portfolio.quantities.items()
        if quantity
    ]
    return sorted(steps, key=_rank)


def _step(
    symbol: str, quantity: float, price: float | None, volatility: float | None, volume: float | None
) -> LiquidationStep:
    size = abs(quantity)
    known = {"price": price, "volatility": volatility, "volume": volume}
    if price is None or volatility is None or not volume:
        impact = unknown(f"no {' or '.join(name for name, value in known.items() if not value)}")
    else:
        impact = Figure(volatility * math.sqrt(size / volume))
    exposure = None if price is None else size * price
    return LiquidationStep(symbol, "sell" if quantity > 0 else "buy", size, price, exposure, impact)


def _rank(step: LiquidationStep) -> tuple[float, float, str]:
    impact = math.inf if step.impact.value is None else step.impact.value
    return impact, math.inf if step.exposure is None else step.exposure, step.symbol
