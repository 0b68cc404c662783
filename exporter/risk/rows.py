"""What is shown of an evaluation, as JSON. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from exporter.config.risk_schema import LimitKind, RiskLimits
from exporter.model import Status
from exporter.risk.engine import PortfolioView, RiskSnapshot
from exporter.risk.evaluation import TailKey
from exporter.risk.events import plain_figures
from exporter.risk.figure import Figure
from exporter.risk.plausibility import Unconfirmed
from exporter.risk.stress import StressResult

Shown = dict[str, Any]


def risk_rows(snapshot: RiskSnapshot | None, errors: Mapping[str, str]) -> Shown:
    """Return all figures of the last evaluation, by portfolio and by symbol; a null has its reason beside it."""
    if snapshot is None:
        return {"time_ms": None, "errors": dict(errors), "portfolios": [], "symbols": []}
    return {
        "time_ms": snapshot.time_ms,
        "errors": dict(errors),
        "portfolios": [_portfolio(name, view) for name, view in snapshot.portfolios.items()],
        "symbols": [
            {
                "symbol": symbol,
                "price": shown(each.price),
                "unconfirmed": _unconfirmed(snapshot.unconfirmed.get(symbol)),
                "volatility": shown(each.volatility),
                "exponential_volatility": shown(each.exponential_volatility),
                "maximum_drawdown": shown(each.maximum_drawdown),
                "tails": _tails(each.var, each.cvar),
            }
            for symbol, each in snapshot.symbols.items()
        ],
    }


def readiness(snapshot: RiskSnapshot | None, errors: Mapping[str, str]) -> Status:
    """Return whether the value of each portfolio is known and no emergency stop is in force."""
    reasons = [f"{kind}: {error}" for kind, error in errors.items()]
    if snapshot is None:
        return Status(False, (*reasons, "nothing is evaluated yet"))
    for name, view in snapshot.portfolios.items():
        if view.is_here and view.stop.since_ms is not None:
            reasons.append(f"emergency stop {view.stop.number} of {name}: {', '.join(view.stop.reasons)}")
        if not view.risk.value.is_known:
            reasons.append(f"the value of {name} is unknown: {view.risk.value.reason}")
    return Status(not reasons, tuple(reasons))


def shown(figure: Figure) -> Shown:
    """Return a figure with its reason, if it is unknown or infinite."""
    if figure.value is not None and math.isinf(figure.value):
        return {"value": None, "reason": "infinite: the value is not above 0"}
    return {"value": figure.value} if figure.is_known else figure._asdict()


def _portfolio(name: str, view: PortfolioView) -> Shown:
    return {
        "portfolio": name,
        "is_here": view.is_here,
        "figures": {name: shown(figure) for name, figure in plain_figures(view)},
        "largest_symbol": view.risk.largest_symbol,
        "tails": _tails(view.risk.var, view.risk.cvar),
        "scenarios": [scenario_row(name, each) for name, each in view.scenarios.items()],
        "limits": _limits(view.limits),
        "breaches": [
            {"limit": key.kind.value, "symbol": key.symbol, **breach._asdict()} for key, breach in view.breaches.items()
        ],
        "safety": {"tripped": [each.value for each in view.safety.tripped], "since_ms": view.safety.since_ms},
        "emergency_stop": {
            "is_in_force": view.stop.since_ms is not None,
            "number": view.stop.number,
            "since_ms": view.stop.since_ms,
            "reasons": list(view.stop.reasons),
        },
    }


def _unconfirmed(found: Unconfirmed | None) -> Shown | None:
    """Return a price that does not count yet; `price` of the symbol is the one that counts."""
    return None if found is None else {"price": found.price, "since_ms": found.since_ms}


def _tails(var: Mapping[TailKey, Figure], cvar: Mapping[TailKey, Figure]) -> list[Shown]:
    return [{**key._asdict(), "var": shown(each), "cvar": shown(cvar[key])} for key, each in var.items()]


def scenario_row(name: str, result: StressResult) -> Shown:
    """Return the result of a scenario."""
    return {
        "scenario": name,
        "loss": shown(result.loss),
        "value": shown(result.value),
        "total": shown(result.total),
        "leverage": shown(result.leverage),
        "var": shown(result.var[0.99]),
        "cvar": shown(result.cvar[0.99]),
    }


def _limits(limits: RiskLimits) -> Shown:
    """Return the limits that are configured."""
    found: Shown = {kind.value: limit for kind in LimitKind if (limit := getattr(limits, kind)) is not None}
    return found | ({"positions": limits.positions} if limits.positions else {})
