"""Events about risk: the values of each type, from a market that falls and recovers."""

from __future__ import annotations

from typing import Any

from exporter.config.risk_schema import LimitRule, RiskConfig, SafetyLimits, StopRule
from exporter.risk.engine import ModelFigures, News, RiskEngine, RiskSnapshot
from exporter.risk.events import value
from exporter.risk.figure import Figure
from exporter.risk.portfolios import Portfolio

CONFIG = RiskConfig(
    interval=60.0,
    limits=(LimitRule(daily_loss=100.0, position=950.0),),
    safety=SafetyLimits(drawdown=0.15, calm=0.0),
    emergency_stop=StopRule(lift="automatic", calm=0.0),
)


def told(engine: RiskEngine, levels: list[float]) -> list[News]:
    """The news of a symbol A whose price is at these levels, a minute after another."""
    found: list[News] = []
    for minute, level in enumerate(levels):
        found += engine.evaluate({"A": 100.0 * level}, 1_760_000_400_000 + 60_000 * minute)[1]
    return found


def evaluated() -> RiskSnapshot:
    """An evaluation in which every figure is known."""
    engine = RiskEngine(CONFIG)
    engine.hold([Portfolio("main", {"A": 5.0, "B": 5.0}, cash=50.0)])
    model = ModelFigures(Figure(0.2), Figure(0.9))
    for minute in range(120):
        prices = {"A": 100.0 + minute % 7, "B": 10.0 + minute % 3}
        snapshot, _ = engine.evaluate(prices, 1_760_000_400_000 + 60_000 * minute, model)
    return snapshot


def broken() -> RiskSnapshot:
    """An evaluation after a fall of a fifth."""
    engine = RiskEngine(CONFIG)
    engine.hold([Portfolio("main", {"A": 10.0}, cash=50.0)])
    for minute, level in enumerate([1.0, 0.8]):
        snapshot, _ = engine.evaluate({"A": 100.0 * level}, 1_760_000_400_000 + 60_000 * minute)
    return snapshot


def _examples() -> dict[str, dict[str, Any]]:
    engine = RiskEngine(CONFIG)
    engine.hold([Portfolio("main", {"A": 10.0}, cash=50.0)])
    return {news.type: value(news) for news in told(engine, [1.0, 0.8, 1.0])}


NEWS = _examples()
