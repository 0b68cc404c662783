"""Market risk: the section `risk`, whose limits, rules and scenarios `exporter.risk` uses as they are. Pure.

Amounts are in the currency of the prices, shares are from 0 to 1, durations are seconds. None is no limit.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from exporter.config import parsers, windows
from exporter.config.section import Section, count, number, parsed, seconds

_AMOUNT = Meta(gt=0, le=1e18, description="an amount above 0")
_SHARE = Meta(gt=0, le=1, description="a share above 0 up to 1, such as 0.05")
_CHANGE = Meta(ge=-1, le=100, description="a change of a price from -1 to 100, such as -0.2 for -20 %")
_HYSTERESIS = number(0, 0.9)


class LimitKind(StrEnum):
    """What a limit is on; a closed set."""

    POSITION = "position"
    TOTAL = "total"
    VALUE = "value"
    DAILY_LOSS = "daily_loss"
    LEVERAGE = "leverage"


class SafetyMeasure(StrEnum):
    """What the safety controller watches; a closed set."""

    DAILY_LOSS = "daily_loss"
    DRAWDOWN = "drawdown"
    VALUE_AT_RISK = "value_at_risk"
    UNCERTAINTY = "uncertainty"
    CONFIDENCE = "confidence"


class RiskLimits(Section, frozen=True, kw_only=True):
    """Limits of a portfolio: on the absolute exposure of each symbol and of all, on value, daily loss and leverage.

    `positions` are the limits of symbols that have their own. `value` is the least allowed one. A breach is cleared
    once the figure is better than the limit by the share `hysteresis`.
    """

    position: Annotated[float, _AMOUNT] | None = None
    positions: dict[str, Annotated[float, _AMOUNT]] = field(default_factory=dict)
    total: Annotated[float, _AMOUNT] | None = None
    value: Annotated[float, _AMOUNT] | None = None
    daily_loss: Annotated[float, _AMOUNT] | None = None
    leverage: Annotated[float, _AMOUNT] | None = None
    hysteresis: Annotated[float, _HYSTERESIS] = 0.1


class SafetyLimits(Section, frozen=True, kw_only=True):
    """Limits on losses and performance, and how a portfolio recovers from a breach of them.

    `daily_loss` and `value_at_risk` (historical, 99 %) are amounts, `drawdown` is a share of the peak; the uncertainty
    and the least confidence of predictions are as their program reports them.
    """

    daily_loss: Annotated[float, _AMOUNT] | None = None
    drawdown: Annotated[float, _SHARE] | None = None
    value_at_risk: Annotated[float, _AMOUNT] | None = None
    uncertainty: Annotated[float, _AMOUNT] | None = None
    confidence: Annotated[float, _SHARE] | None = None
    hysteresis: Annotated[float, _HYSTERESIS] = 0.1
    recovery: Literal["automatic", "manual"] = "automatic"
    calm: Annotated[float, seconds("0s", "7d")] = 300.0


class StopRule(Section, frozen=True, kw_only=True):
    """What fires the emergency stop, and how it is lifted: by hand alone, or also after `calm` seconds of calm."""

    limits: Annotated[tuple[LimitKind, ...], Meta(max_length=len(LimitKind), description="a list of limits")] = ()
    safety: Annotated[
        tuple[SafetyMeasure, ...], Meta(max_length=len(SafetyMeasure), description="a list of measures of safety")
    ] = (SafetyMeasure.DAILY_LOSS, SafetyMeasure.DRAWDOWN)
    lift: Literal["manual", "automatic"] = "manual"
    calm: Annotated[float, seconds("0s", "7d")] = 900.0


class Scenario(Section, frozen=True, kw_only=True):
    """What may happen at once: changes of prices, a wider volatility, a cost of liquidity, correlations of 1.

    `prices` maps globs over symbols to relative changes; the last glob that fits a symbol counts.
    """

    name: Annotated[str, Meta(pattern=r"\A[\w.-]{1,64}\Z", description="1 to 64 of letters, digits, _ . -")]
    prices: dict[str, Annotated[float, _CHANGE]] = field(default_factory=dict)
    volatility: Annotated[float, number(0, 100)] = 1.0
    liquidity: Annotated[float, number(0, 1)] = 0.0
    correlations_to_one: bool = False


SCENARIOS = (
    Scenario(name="market_crash", prices={"*": -0.2}),
    Scenario(name="volatility_spike", volatility=3.0),
    Scenario(name="liquidity_crisis", liquidity=0.05),
    Scenario(name="correlation_breakdown", correlations_to_one=True),
)


_PORTFOLIOS = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=64, description="a glob over names of portfolios")], ...],
    Meta(min_length=1, max_length=1000, description="a list of 1 to 1000 globs over names of portfolios"),
]


class LimitRule(RiskLimits, frozen=True, kw_only=True):
    """The limits of the portfolios that one of the globs fits."""

    portfolios: _PORTFOLIOS = ("*",)


class PlausibilityRule(Section, frozen=True, kw_only=True):
    """Which prices count only once others confirm them, and how many others.

    A jump is more than `deviations` robust deviations of the symbol's own changes, and more than the share `least`. It
    counts after so many `confirmations`, or `wait` seconds without a price that refutes it.
    """

    deviations: Annotated[float, number(0, 1000)] = 10.0
    least: Annotated[float, number(0, 100)] = 0.02
    confirmations: Annotated[int, count(0, 100)] = 2
    wait: Annotated[float, seconds("0s", "1h")] = 10.0


class PositionsConfig(Section, frozen=True, kw_only=True):
    """Where portfolios come from: a YAML file, or a compacted topic with a record for each position."""

    file: str | None = None
    topic: Annotated[str, parsed(parsers.topic, "the name of a topic")] | None = None


class RiskConfig(Section, frozen=True, kw_only=True):
    """Market risk of portfolios, evaluated every `interval` from the prices of feeds."""

    # A thread, clients and families that are made at the start; the events that wait belong to their topic.
    needs_restart: ClassVar[frozenset[str]] = frozenset({"enabled", "positions", "topic"})

    enabled: bool = False
    interval: Annotated[float, seconds("1s", "1d")] = 10.0
    samples: Annotated[int, count(2, 100_000)] = 500
    decay: Annotated[float, number(0.5, 1)] = 0.97
    price_age: Annotated[float, seconds("1s", "1d")] = 60.0
    feeds: Annotated[
        tuple[Annotated[str, parsed(parsers.feed_glob, "a glob over region:exchange:request_type")], ...],
        Meta(min_length=1, max_length=1000, description="a list of 1 to 1000 entries, such as [a, b]"),
    ] = ("*",)
    plausibility: PlausibilityRule = PlausibilityRule()
    timezone: Annotated[str, parsed(windows.zone_name, "an IANA time zone, such as Asia/Seoul")] = "UTC"
    positions: PositionsConfig = PositionsConfig()
    limits: Annotated[tuple[LimitRule, ...], Meta(max_length=1000, description="a list of at most 1000 rules")] = ()
    safety: SafetyLimits = SafetyLimits()
    emergency_stop: StopRule = StopRule()
    scenarios: Annotated[tuple[Scenario, ...], Meta(max_length=100, description="a list of at most 100 scenarios")] = ()
    topic: Annotated[str, parsed(parsers.topic, "the name of a topic")] = "monitoring.risk"
    report_interval: Annotated[float, seconds("1s", "1d")] = 60.0
