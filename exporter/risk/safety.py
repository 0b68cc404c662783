"""The safety controller and the emergency stop: state machines of one portfolio; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from exporter.config.risk_schema import LimitKind, SafetyLimits, SafetyMeasure, StopRule
from exporter.risk.figure import Figure
from exporter.risk.limits import is_beyond, is_well_within


class SafetyState(StrEnum):
    """Whether a portfolio is within its limits; a closed set."""

    NORMAL = "normal"
    TRIPPED = "tripped"


class SafetyProgress(NamedTuple):
    """The state of a controller: the measures beyond their limits, and since when it is tripped and calm."""

    tripped: tuple[SafetyMeasure, ...] = ()
    since_ms: int | None = None
    calm_since_ms: int | None = None


class SafetyController:
    """Trips when losses or performance are beyond a limit, and recovers by itself when it is calm, or by hand.

    It is calm while each measure with a limit is known and better than it by the share `hysteresis`. With `recovery`
    automatic it recovers after `calm` seconds of that; otherwise by `reset` alone.
    """

    def __init__(self, limits: SafetyLimits, progress: SafetyProgress | None = None) -> None:
        self.limits = limits
        self.progress = progress or SafetyProgress()

    @property
    def state(self) -> SafetyState:
        """The present state."""
        return SafetyState.TRIPPED if self.progress.since_ms is not None else SafetyState.NORMAL

    def update(self, measures: Mapping[SafetyMeasure, Figure], now_ms: int) -> SafetyState:
        """Take the present measures into account and return the state."""
        beyond, is_calm = self._judge(measures)
        before = self.progress
        if beyond:
            first = now_ms if before.since_ms is None else before.since_ms
            self.progress = SafetyProgress(_joined(before.tripped, beyond), first)
        elif before.since_ms is not None:
            calm_ms = _earlier(before.calm_since_ms, now_ms) if is_calm else None
            self.progress = before._replace(calm_since_ms=calm_ms)
            if self.limits.recovery == "automatic" and _is_over(calm_ms, self.limits.calm, now_ms):
                self.progress = SafetyProgress()
        return self.state

    def reset(self) -> None:
        """Recover by hand; it trips again with the next update if a measure is still beyond its limit."""
        self.progress = SafetyProgress()

    def _judge(self, measures: Mapping[SafetyMeasure, Figure]) -> tuple[list[SafetyMeasure], bool]:
        """Return the measures beyond their limits, and whether all are well within them."""
        beyond, is_calm = [], True
        for measure in SafetyMeasure:
            limit: float | None = getattr(self.limits, measure)
            if limit is None:
                continue
            value = measures[measure].value if measure in measures else None
            if value is None:
                is_calm = False
                continue
            is_least = measure is SafetyMeasure.CONFIDENCE
            beyond += [measure] if is_beyond(value, limit, is_least) else []
            is_calm = is_calm and is_well_within(value, limit, self.limits.hysteresis, is_least)
        return beyond, is_calm


class StopProgress(NamedTuple):
    """The state of an emergency stop: how often it has fired, and if it is in force since when and why."""

    number: int = 0
    since_ms: int | None = None
    calm_since_ms: int | None = None
    reasons: tuple[str, ...] = ()


class StopChange(NamedTuple):
    """A stop that was fired or lifted, by hand or by itself; its number is the same for both."""

    is_fired: bool
    number: int
    reasons: tuple[str, ...]
    since_ms: int
    time_ms: int
    by_hand: bool = False


class EmergencyStop:
    """Fires once when there is a reason, and stays in force until it is lifted as its rule allows.

    It is lifted by hand, or with `lift` automatic also by itself, after `calm` seconds without a reason in which all
    that it depends on was known. `progress` is the state, from which a successor goes on without firing again.
    """

    def __init__(self, rule: StopRule, progress: StopProgress | None = None) -> None:
        self.rule = rule
        self.progress = progress or StopProgress()

    @property
    def is_in_force(self) -> bool:
        """Whether it was fired and not lifted."""
        return self.progress.since_ms is not None

    def reasons(self, limits: Iterable[LimitKind], safety: Iterable[SafetyMeasure]) -> tuple[str, ...]:
        """Return those of the breached limits and tripped measures that fire it, sorted."""
        breached = {f"limit:{kind}" for kind in limits if kind in self.rule.limits}
        return tuple(sorted(breached | {f"safety:{measure}" for measure in safety if measure in self.rule.safety}))

    def update(self, reasons: Iterable[str], now_ms: int, *, is_known: bool = True) -> StopChange | None:
        """Take the present reasons into account and return the change, if there is one.

        `is_known` is False while a figure that may be a reason is unknown: this neither fires nor lifts it.
        """
        present, progress = tuple(reasons), self.progress
        if progress.since_ms is None:
            return self._fire(present, now_ms) if present else None
        if present or not is_known:
            self.progress = progress._replace(calm_since_ms=None)
            return None
        calm_ms = _earlier(progress.calm_since_ms, now_ms)
        self.progress = progress._replace(calm_since_ms=calm_ms)
        if self.rule.lift == "automatic" and _is_over(calm_ms, self.rule.calm, now_ms):
            return self._lift(progress.since_ms, now_ms, by_hand=False)
        return None

    def lift(self, now_ms: int) -> StopChange | None:
        """Lift it by hand; None when it is not in force. It fires again with the next update that has a reason."""
        since_ms = self.progress.since_ms
        return None if since_ms is None else self._lift(since_ms, now_ms, by_hand=True)

    def _fire(self, reasons: tuple[str, ...], now_ms: int) -> StopChange:
        self.progress = StopProgress(self.progress.number + 1, now_ms, None, reasons)
        return StopChange(True, self.progress.number, reasons, now_ms, now_ms)

    def _lift(self, since_ms: int, now_ms: int, *, by_hand: bool) -> StopChange:
        number, reasons = self.progress.number, self.progress.reasons
        self.progress = StopProgress(number)
        return StopChange(False, number, reasons, since_ms, now_ms, by_hand)


def _earlier(since_ms: int | None, now_ms: int) -> int:
    """Return since when it is calm: now if the clock was set back since, which must not prolong a calm by hours."""
    return now_ms if since_ms is None else min(since_ms, now_ms)


def _is_over(since_ms: int | None, seconds: float, now_ms: int) -> bool:
    return since_ms is not None and now_ms - since_ms >= 1000 * seconds


def _joined(before: tuple[SafetyMeasure, ...], found: Iterable[SafetyMeasure]) -> tuple[SafetyMeasure, ...]:
    joined = {*before, *found}
    return tuple(measure for measure in SafetyMeasure if measure in joined)
