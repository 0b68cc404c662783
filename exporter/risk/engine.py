"""From portfolios and prices to figures, and to the news that others should know of; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from datetime import datetime
from fnmatch import fnmatchcase
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from exporter.config.risk_schema import RiskConfig, RiskLimits, SafetyMeasure
from exporter.model import RiskEventType
from exporter.risk.evaluation import Evaluation, Market, PortfolioRisk, SymbolRisk, TailKey
from exporter.risk.figure import Figure, unknown
from exporter.risk.guard import Guard, PortfolioState
from exporter.risk.history import PriceHistory
from exporter.risk.limits import Breach, LimitChange, LimitedFigures, LimitKey
from exporter.risk.liquidation import LiquidationStep, liquidation_plan
from exporter.risk.performance import Performance, Results
from exporter.risk.plausibility import PriceFilter, Quote, Unconfirmed
from exporter.risk.portfolios import Book, Portfolio
from exporter.risk.safety import SafetyProgress, StopChange, StopProgress
from exporter.risk.stress import StressResult, StressTestEngine

NO_LIMITS = RiskLimits()
_UNREPORTED = unknown("no program reports it")


class PortfolioView(NamedTuple):
    """All that is known of a portfolio after an evaluation; breaches, safety and stop are the present ones.

    It `is_here` if all its prices are read by this process, which then judges it.
    """

    is_here: bool
    risk: PortfolioRisk
    results: Results
    daily_loss: Figure
    uncertainty: Figure
    confidence: Figure
    scenarios: dict[str, StressResult]
    limits: RiskLimits
    breaches: dict[LimitKey, Breach]
    safety: SafetyProgress
    stop: StopProgress


class RiskSnapshot(NamedTuple):
    """The result of an evaluation at a time in Unix milliseconds; the prices that are `unconfirmed` do not count."""

    time_ms: int
    portfolios: dict[str, PortfolioView]
    symbols: dict[str, SymbolRisk]
    unconfirmed: dict[str, Unconfirmed]


class News(NamedTuple):
    """Something to publish of a portfolio; `number` counts all news of the portfolio."""

    type: RiskEventType
    portfolio: str
    number: int
    time_ms: int
    view: PortfolioView
    limit: LimitChange | None = None
    stop: StopChange | None = None
    plan: tuple[LiquidationStep, ...] = ()


class ModelFigures(NamedTuple):
    """The uncertainty and the confidence of predictions, as programs report them."""

    uncertainty: Figure = _UNREPORTED
    confidence: Figure = _UNREPORTED


NOT_REPORTED = ModelFigures()


class RiskEngine:
    """Evaluates all portfolios, and keeps what has to be known of them from one evaluation to the next."""

    def __init__(self, config: RiskConfig) -> None:
        self._config = config
        self._zone = ZoneInfo(config.timezone)
        self._history = PriceHistory(config.samples + 1, round(1000 * config.interval))
        self._stress = StressTestEngine(config.scenarios)
        self.filter = PriceFilter(config.plausibility)
        self._book = Book([])
        self.restore({})

    def reconfigure(self, config: RiskConfig) -> None:
        """Go on with another configuration; the samples of another interval are forgotten."""
        step_ms = round(1000 * config.interval)
        if step_ms == self._history.step_ms:
            self._history.resize(config.samples + 1)
        else:
            self._history = PriceHistory(config.samples + 1, step_ms, self._book.symbols)
        self._config = config
        self._zone = ZoneInfo(config.timezone)
        self._stress = StressTestEngine(config.scenarios)
        self.filter.rule = config.plausibility
        for name, guard in self._guards.items():
            guard.reconfigure(self._limits(name), config.safety, config.emergency_stop)
        self._report_due_ms = 0

    def restore(self, states: Mapping[str, PortfolioState]) -> None:
        """Go on from these states; of other portfolios nothing is known before now."""
        self._states = dict(states)
        self._guards: dict[str, Guard] = {}
        self._guards = {name: self._guard(name) for name in self._book.names}
        self._performance = Performance({name: state.track for name, state in states.items()})
        self._refer(is_newer=True)
        self._report_due_ms = 0

    def hold(self, portfolios: Iterable[Portfolio]) -> None:
        """Evaluate these portfolios from now on; the state of one that is left out is forgotten."""
        self._book = Book(portfolios)
        self._history.hold(self._book.symbols)
        self.filter.hold(self._book.symbols)
        self._refer()
        self._guards = {name: self._guard(name) for name in self._book.names}

    @property
    def names(self) -> frozenset[str]:
        """The names of the portfolios."""
        return frozenset(self._book.names)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols whose prices are needed."""
        return self._book.symbols

    def accept(self, quotes: Mapping[str, Quote], now_ms: int) -> dict[str, float]:
        """Return the prices that count at a time in Unix milliseconds, of fresh ones."""
        return self.filter.accept(quotes, now_ms, round(1000 * self._config.price_age))

    def evaluate(
        self,
        prices: Mapping[str, float],
        now_ms: int,
        model: ModelFigures = NOT_REPORTED,
        elsewhere: Set[str] = frozenset(),
    ) -> tuple[RiskSnapshot, list[News]]:
        """Return the figures at these prices, which are fresh and accepted, and the news, in order.

        A portfolio that holds one of the symbols `elsewhere` is judged by another process, which has all its prices.
        """
        book = self._book
        self._history.sample(prices, now_ms)
        market = Market(book.prices(prices), self._history.prices(book.symbols))
        evaluation = Evaluation(book, market, decay=self._config.decay)
        results = self._performance.update(book, market.prices, self._day(now_ms))
        stress = self._stress.run(book, market)
        interval_ms = round(1000 * self._config.report_interval)
        # Also after the clock was set back by more than an interval.
        is_report_due = not now_ms < self._report_due_ms <= now_ms + interval_ms
        if is_report_due:
            self._report_due_ms = now_ms + interval_ms
        views, news = {}, list[News]()
        for name, risk in evaluation.portfolios().items():
            before = _View(risk, results[name], model, stress[name])
            if not elsewhere.isdisjoint(self._book.portfolios[name].quantities):
                views[name] = self._view(name, before, is_here=False)
                continue
            views[name], found = self._judge(name, before, evaluation, now_ms)
            news += found
            if is_report_due:
                news.append(self._news(RiskEventType.REPORT, name, views[name], now_ms))
        return RiskSnapshot(now_ms, views, evaluation.symbols(), self.filter.unconfirmed), news

    def lift(self, name: str, view: PortfolioView, now_ms: int) -> News | None:
        """Lift the stop of a portfolio by hand; None when none is in force."""
        guard = self._guards.get(name)
        change = None if guard is None else guard.lift(now_ms)
        return None if change is None else self._news(RiskEventType.LIFTED, name, view, now_ms, stop=change)

    def refreshed(self, snapshot: RiskSnapshot, name: str) -> RiskSnapshot:
        """Return a snapshot with the present safety and stop of a portfolio."""
        guard, view = self._guards[name], snapshot.portfolios[name]
        view = view._replace(safety=guard.safety.progress, stop=guard.stop.progress)
        return snapshot._replace(portfolios={**snapshot.portfolios, name: view})

    def is_stopped(self, name: str) -> bool:
        """Return whether the stop of a portfolio is in force."""
        return name in self._guards and self._guards[name].stop.is_in_force

    def state(self, name: str) -> PortfolioState:
        """Return the state of a portfolio for a successor."""
        return self._guards[name].state(self._performance.track(name))

    def _judge(self, name: str, found: _View, evaluation: Evaluation, now_ms: int) -> tuple[PortfolioView, list[News]]:
        guard, risk = self._guards[name], found.risk
        limited = LimitedFigures(
            self._exposures(name, evaluation), risk.total, risk.value, found.daily_loss, risk.leverage
        )
        judgement = guard.judge(limited, found.measures, now_ms)
        view = self._view(name, found, is_here=True)
        news = [
            self._news(
                RiskEventType.BREACHED if change.is_breached else RiskEventType.CLEARED,
                name, view, now_ms, limit=change,
            )
            for change in judgement.limits
        ]  # fmt: skip
        if (stop := judgement.stop) is not None:
            kind = RiskEventType.STOP if stop.is_fired else RiskEventType.LIFTED
            plan = self._plan(name, evaluation) if stop.is_fired else ()
            news.append(self._news(kind, name, view, now_ms, stop=stop, plan=plan))
        return view, news

    def _view(self, name: str, found: _View, *, is_here: bool) -> PortfolioView:
        guard = self._guards[name]
        return PortfolioView(
            is_here=is_here,
            risk=found.risk,
            results=found.results,
            daily_loss=found.daily_loss,
            uncertainty=found.model.uncertainty,
            confidence=found.model.confidence,
            scenarios=found.scenarios,
            limits=guard.limits.limits,
            breaches=dict(guard.limits.breaches),
            safety=guard.safety.progress,
            stop=guard.stop.progress,
        )

    def _news(
        self,
        kind: RiskEventType,
        name: str,
        view: PortfolioView,
        now_ms: int,
        *,
        limit: LimitChange | None = None,
        stop: StopChange | None = None,
        plan: tuple[LiquidationStep, ...] = (),
    ) -> News:
        guard = self._guards[name]
        guard.number += 1
        return News(kind, name, guard.number, now_ms, view, limit, stop, plan)

    def _plan(self, name: str, evaluation: Evaluation) -> tuple[LiquidationStep, ...]:
        book, prices = self._book, evaluation.market.prices
        known = {symbol: price for symbol, price in zip(book.symbols, prices.tolist(), strict=True) if price == price}
        return tuple(liquidation_plan(book.portfolios[name], known, evaluation.volatilities()))

    def _exposures(self, name: str, evaluation: Evaluation) -> dict[str, float | None]:
        """Return the absolute exposures of a portfolio, if there is a limit on positions."""
        limits = self._guards[name].limits
        if limits.limits.position is None and not limits.limits.positions and not limits.breaches:
            return {}
        book, row = self._book, self._book.names.index(name)
        columns = np.flatnonzero(book.holds[row])
        sizes, fresh = np.abs(evaluation.exposures[row]), np.isfinite(evaluation.market.prices)
        return {book.symbols[column]: float(sizes[column]) if fresh[column] else None for column in columns}

    def _guard(self, name: str) -> Guard:
        if name in self._guards:
            return self._guards[name]
        safety, rule = self._config.safety, self._config.emergency_stop
        return Guard(self._limits(name), safety, rule, self._states.get(name))

    def _limits(self, name: str) -> RiskLimits:
        rules = (rule for rule in self._config.limits if any(fnmatchcase(name, glob) for glob in rule.portfolios))
        return next(rules, NO_LIMITS)

    def _refer(self, *, is_newer: bool = False) -> None:
        """Compare first prices with those of the published states; see `PriceFilter.refer`."""
        holdings = [holding for state in self._states.values() for holding in state.holdings.items()]
        prices = {symbol: each.price for symbol, each in holdings if each.price is not None}
        self.filter.refer(prices, is_newer=is_newer)

    def _day(self, now_ms: int) -> int:
        return datetime.fromtimestamp(now_ms / 1000, self._zone).date().toordinal()


class _View:
    """What is known of a portfolio before it is judged."""

    def __init__(
        self, risk: PortfolioRisk, results: Results, model: ModelFigures, scenarios: dict[str, StressResult]
    ) -> None:
        self.risk, self.results, self.model, self.scenarios = risk, results, model, scenarios
        profit = results.day_profit
        self.daily_loss = profit if profit.value is None else Figure(max(0.0, -profit.value))
        self.measures = {
            SafetyMeasure.DAILY_LOSS: self.daily_loss,
            SafetyMeasure.DRAWDOWN: results.drawdown,
            SafetyMeasure.VALUE_AT_RISK: risk.var[TailKey("historical", 0.99)],
            SafetyMeasure.UNCERTAINTY: model.uncertainty,
            SafetyMeasure.CONFIDENCE: model.confidence,
        }
