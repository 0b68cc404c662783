"""The figures and scenarios of portfolios as text and as JSON. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from exporter.risk.evaluation import PortfolioRisk, TailKey
from exporter.risk.figure import Figure
from exporter.risk.rows import Shown, scenario_row, shown
from exporter.risk.stress import StressResult

Results = Mapping[str, Mapping[str, StressResult]]
HISTORICAL = TailKey("historical", 0.99)


def as_json(risks: Mapping[str, PortfolioRisk], results: Results) -> Shown:
    """Return all figures; a null has its reason beside it."""
    return {
        "portfolios": [
            {
                "portfolio": name,
                "value": shown(risk.value),
                "total": shown(risk.total),
                "leverage": shown(risk.leverage),
                "volatility": shown(risk.volatility),
                "tails": [
                    {**key._asdict(), "var": shown(each), "cvar": shown(risk.cvar[key])}
                    for key, each in risk.var.items()
                ],
                "scenarios": [scenario_row(scenario, each) for scenario, each in results[name].items()],
            }
            for name, risk in risks.items()
        ]
    }


def as_text(risks: Mapping[str, PortfolioRisk], results: Results) -> str:
    """Return a table for each portfolio, and the reasons of what is unknown; `-` is unknown."""
    return "\n\n".join(_portfolio(name, risk, results[name]) for name, risk in risks.items()) or "no portfolios"


def _portfolio(name: str, risk: PortfolioRisk, results: Mapping[str, StressResult]) -> str:
    rows = [["scenario", "loss", "value", "leverage", "VaR 99 %", "CVaR 99 %"]]
    now = [risk.value, risk.leverage, risk.var[HISTORICAL], risk.cvar[HISTORICAL]]
    rows.append(["now", "", *map(_number, now)])
    figures = list(now)
    for scenario, each in results.items():
        found = [each.loss, each.value, each.leverage, each.var[0.99], each.cvar[0.99]]
        figures += found
        rows.append([scenario, *map(_number, found)])
    reasons = sorted({figure.reason for figure in figures if figure.reason})
    return "\n".join([name, *_table(rows), *(f"unknown: {reason}" for reason in reasons)])


def _number(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    return "infinite" if math.isinf(figure.value) else f"{figure.value:,.2f}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
