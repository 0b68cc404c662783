"""The limits, the safety controller and the emergency stop of one portfolio, and their common state; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from exporter.config.risk_schema import LimitKind, RiskLimits, SafetyLimits, SafetyMeasure, StopRule
from exporter.risk.figure import Figure
from exporter.risk.limits import Breach, LimitChange, LimitedFigures, LimitKey, LimitMonitor
from exporter.risk.performance import Holding, Progress, Track
from exporter.risk.safety import EmergencyStop, SafetyController, SafetyProgress, StopChange, StopProgress


class PortfolioState(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that a successor needs of a portfolio; `number` is that of its last event, from 1 on."""

    number: int
    progress: Progress
    holdings: dict[str, Holding]
    breaches: tuple[tuple[LimitKey, Breach], ...] = ()
    numbers: tuple[tuple[LimitKey, int], ...] = ()
    safety: SafetyProgress = SafetyProgress()
    stop: StopProgress = StopProgress()

    @property
    def track(self) -> Track:
        """The state of its profits."""
        return Track(self.progress, self.holdings)


class Judgement(NamedTuple):
    """What one evaluation has changed."""

    limits: list[LimitChange]
    stop: StopChange | None


class Guard:
    """Judges the figures of one portfolio; `state` is what an earlier process knew of it."""

    def __init__(
        self, limits: RiskLimits, safety: SafetyLimits, rule: StopRule, state: PortfolioState | None = None
    ) -> None:
        breaches, numbers = (dict(state.breaches), dict(state.numbers)) if state else ({}, {})
        self.number = state.number if state else 0
        self.limits = LimitMonitor(limits, breaches, numbers)
        self.safety = SafetyController(safety, state.safety if state else None)
        self.stop = EmergencyStop(rule, state.stop if state else None)

    def reconfigure(self, limits: RiskLimits, safety: SafetyLimits, rule: StopRule) -> None:
        """Judge by these from now on; what is broken, tripped or in force stays so until it ends by them."""
        self.limits.limits, self.safety.limits, self.stop.rule = limits, safety, rule

    def judge(self, figures: LimitedFigures, measures: Mapping[SafetyMeasure, Figure], now_ms: int) -> Judgement:
        """Return what changes with these figures."""
        changes = self.limits.check(figures, now_ms)
        self.safety.update(measures, now_ms)
        reasons = self.stop.reasons([key.kind for key in self.limits.breaches], self.safety.progress.tripped)
        return Judgement(changes, self.stop.update(reasons, now_ms, is_known=self._is_known(figures, measures)))

    def lift(self, now_ms: int) -> StopChange | None:
        """Lift the stop by hand, and let the safety controller recover; None when no stop is in force."""
        self.safety.reset()
        return self.stop.lift(now_ms)

    def state(self, track: Track) -> PortfolioState:
        """Return the state for a successor."""
        return PortfolioState(
            self.number,
            *track,
            tuple(self.limits.breaches.items()),
            tuple(self.limits.numbers.items()),
            self.safety.progress,
            self.stop.progress,
        )

    def _is_known(self, figures: LimitedFigures, measures: Mapping[SafetyMeasure, Figure]) -> bool:
        """Return whether every figure is known that may be a reason for a stop."""
        rule, limits = self.stop.rule, self.limits.limits
        whole = [kind for kind in rule.limits if kind is not LimitKind.POSITION and getattr(limits, kind) is not None]
        positions = figures.exposures.values() if LimitKind.POSITION in rule.limits else ()
        watched = [measure for measure in rule.safety if getattr(self.safety.limits, measure) is not None]
        return (
            all(getattr(figures, kind).is_known for kind in whole)
            and all(exposure is not None for exposure in positions)
            and all(measure in measures and measures[measure].is_known for measure in watched)
        )
