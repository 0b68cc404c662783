"""Market risk of portfolios: measures, limits, safety, an emergency stop and stress tests. Figures, not advice.

Programs import the names of `__all__` from here; each is imported at its first use, with NumPy if it needs that.
Nothing of it reads a clock: times are arguments, in Unix milliseconds. Amounts are in the currency of the prices.
"""

from typing import TYPE_CHECKING

from exporter.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from exporter.config.risk_schema import (
        LimitKind,
        PlausibilityRule,
        RiskLimits,
        SafetyLimits,
        SafetyMeasure,
        Scenario,
        StopRule,
    )
    from exporter.risk.evaluation import Evaluation, Market, PortfolioRisk, SymbolRisk, TailKey
    from exporter.risk.figure import Figure
    from exporter.risk.history import PriceHistory
    from exporter.risk.limits import Breach, LimitChange, LimitedFigures, LimitKey, LimitMonitor
    from exporter.risk.liquidation import LiquidationStep, liquidation_plan
    from exporter.risk.measures import (
        Concentration,
        concentration,
        conditional_value_at_risk,
        correlations,
        maximum_drawdown,
        simple_returns,
        value_at_risk,
        volatility,
    )
    from exporter.risk.performance import Holding, Performance, Progress, Results, Track
    from exporter.risk.plausibility import JumpCounts, PriceFilter, Quote, Unconfirmed
    from exporter.risk.portfolios import Book, Portfolio
    from exporter.risk.safety import (
        EmergencyStop,
        SafetyController,
        SafetyProgress,
        SafetyState,
        StopChange,
        StopProgress,
    )
    from exporter.risk.stress import StressResult, StressTestEngine

__all__ = [
    "Book",
    "Breach",
    "Concentration",
    "EmergencyStop",
    "Evaluation",
    "Figure",
    "Holding",
    "JumpCounts",
    "LimitChange",
    "LimitKey",
    "LimitKind",
    "LimitMonitor",
    "LimitedFigures",
    "LiquidationStep",
    "Market",
    "Performance",
    "PlausibilityRule",
    "Portfolio",
    "PortfolioRisk",
    "PriceFilter",
    "PriceHistory",
    "Progress",
    "Quote",
    "Results",
    "RiskLimits",
    "SafetyController",
    "SafetyLimits",
    "SafetyMeasure",
    "SafetyProgress",
    "SafetyState",
    "Scenario",
    "StopChange",
    "StopProgress",
    "StopRule",
    "StressResult",
    "StressTestEngine",
    "SymbolRisk",
    "TailKey",
    "Track",
    "Unconfirmed",
    "concentration",
    "conditional_value_at_risk",
    "correlations",
    "liquidation_plan",
    "maximum_drawdown",
    "simple_returns",
    "value_at_risk",
    "volatility",
]

_NAMES = {
    "exporter.config.risk_schema": (
        "LimitKind",
        "PlausibilityRule",
        "RiskLimits",
        "SafetyLimits",
        "SafetyMeasure",
        "Scenario",
        "StopRule",
    ),
    "exporter.risk.evaluation": ("Evaluation", "Market", "PortfolioRisk", "SymbolRisk", "TailKey"),
    "exporter.risk.figure": ("Figure",),
    "exporter.risk.history": ("PriceHistory",),
    "exporter.risk.limits": ("Breach", "LimitChange", "LimitKey", "LimitMonitor", "LimitedFigures"),
    "exporter.risk.liquidation": ("LiquidationStep", "liquidation_plan"),
    "exporter.risk.measures": (
        "Concentration",
        "concentration",
        "conditional_value_at_risk",
        "correlations",
        "maximum_drawdown",
        "simple_returns",
        "value_at_risk",
        "volatility",
    ),
    "exporter.risk.performance": ("Holding", "Performance", "Progress", "Results", "Track"),
    "exporter.risk.plausibility": ("JumpCounts", "PriceFilter", "Quote", "Unconfirmed"),
    "exporter.risk.portfolios": ("Book", "Portfolio"),
    "exporter.risk.safety": (
        "EmergencyStop",
        "SafetyController",
        "SafetyProgress",
        "SafetyState",
        "StopChange",
        "StopProgress",
    ),
    "exporter.risk.stress": ("StressResult", "StressTestEngine"),
}

if not TYPE_CHECKING:  # a type checker finds a name that does not exist
    __getattr__, __dir__ = lazy_names(__name__, _NAMES, extra="risk")
