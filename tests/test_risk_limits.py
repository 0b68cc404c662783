"""Limits, the safety controller and the emergency stop: each fires once, and ends once."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.risk import (
    Breach,
    EmergencyStop,
    Figure,
    LimitChange,
    LimitedFigures,
    LimitKey,
    LimitKind,
    LimitMonitor,
    RiskLimits,
    SafetyController,
    SafetyLimits,
    SafetyMeasure,
    SafetyState,
    StopChange,
    StopRule,
)

few = settings(max_examples=60)
UNKNOWN = Figure(None, "no fresh price of A")
LOSS, DRAWDOWN = SafetyMeasure.DAILY_LOSS, SafetyMeasure.DRAWDOWN


def figures(exposures: dict[str, float | None] | None = None, **values: float) -> LimitedFigures:
    return LimitedFigures(exposures or {}, **{name: Figure(value) for name, value in values.items()})


def brief(changes: list[LimitChange]) -> list[tuple[str, str, bool, int]]:
    return [(change.key.kind.value, change.key.symbol, change.is_breached, change.number) for change in changes]


def test_a_clock_that_is_set_back_prolongs_no_calm_by_more_than_its_duration() -> None:
    controller = SafetyController(SafetyLimits(drawdown=0.1, calm=10.0))
    stop = EmergencyStop(StopRule(lift="automatic", calm=10.0))
    hour = 3_600_000
    controller.update({DRAWDOWN: Figure(0.2)}, hour)
    stop.update(["safety:drawdown"], hour)
    for now_ms in (hour + 1, 0, 9_999):
        controller.update({DRAWDOWN: Figure(0.0)}, now_ms)
        assert stop.update([], now_ms) is None
        assert controller.state is SafetyState.TRIPPED
    assert controller.update({DRAWDOWN: Figure(0.0)}, 10_000) is SafetyState.NORMAL
    assert stop.update([], 10_000) is not None


# Limits.


def test_each_breach_is_reported_once_and_cleared_once() -> None:
    monitor, key = LimitMonitor(RiskLimits(daily_loss=100)), LimitKey(LimitKind.DAILY_LOSS)
    losses = [100, 101, 150, 95, 91, 90, 50, 99, 101, 20]
    found = [monitor.check(figures(daily_loss=loss), at) for at, loss in enumerate(losses)]
    assert [change for changes in found for change in changes] == [
        LimitChange(key, True, 1, 1, 1, 101, 100),
        LimitChange(key, False, 1, 1, 5, 90, 100),
        LimitChange(key, True, 2, 8, 8, 101, 100),
        LimitChange(key, False, 2, 8, 9, 20, 100),
    ]


def test_the_limit_of_a_symbol_is_also_that_of_its_position_on_one_feed() -> None:
    own, alone, other = "korea:upbit:ticker/BTC/KRW", "korea:upbit:ticker/A", "korea:upbit:ticker/B"
    monitor = LimitMonitor(RiskLimits(position=1000, positions={"BTC/KRW": 10, "A": 10, alone: 100}))
    changes = monitor.check(figures({own: 50, alone: 50, other: 50, "BTC/KRW": 5}), 1)
    assert brief(changes) == [("position", own, True, 1)]
    assert brief(monitor.check(figures({}), 2)) == [("position", own, False, 1)]


def test_all_limits_of_a_portfolio_are_watched() -> None:
    monitor = LimitMonitor(
        RiskLimits(position=50, positions={"B": 200}, total=300, value=1000, leverage=2, daily_loss=10)
    )
    worse = figures({"A": 51, "B": 199, "C": 50}, total=301, value=999, daily_loss=11, leverage=math.inf)
    assert brief(monitor.check(worse, 0)) == [
        ("total", "", True, 1),
        ("value", "", True, 1),
        ("daily_loss", "", True, 1),
        ("leverage", "", True, 1),
        ("position", "A", True, 1),
    ]
    better = figures({"B": 201}, total=270, value=1100, daily_loss=-5, leverage=1.8)
    assert sorted(brief(monitor.check(better, 1))) == [
        ("daily_loss", "", False, 1),
        ("leverage", "", False, 1),
        ("position", "A", False, 1),
        ("position", "B", True, 1),
        ("total", "", False, 1),
        ("value", "", False, 1),
    ]


def test_the_least_value_is_cleared_above_its_limit() -> None:
    monitor = LimitMonitor(RiskLimits(value=100, hysteresis=0.2))
    found = [brief(monitor.check(figures(value=value), 0)) for value in (100, 99.9, 110, 119, 120)]
    assert found == [[], [("value", "", True, 1)], [], [], [("value", "", False, 1)]]


def test_without_hysteresis_a_breach_is_cleared_at_the_limit() -> None:
    monitor = LimitMonitor(RiskLimits(total=100, hysteresis=0))
    found = [brief(monitor.check(figures(total=total), 0)) for total in (101, 100, 100.5)]
    assert found == [[("total", "", True, 1)], [("total", "", False, 1)], [("total", "", True, 2)]]


def test_unknown_figures_neither_breach_nor_clear() -> None:
    monitor = LimitMonitor(RiskLimits(total=100, position=10, value=5))
    assert monitor.check(LimitedFigures({"A": None}, total=UNKNOWN), 0) == []
    monitor.check(figures({"A": 11}, total=101, value=1), 1)
    assert monitor.check(LimitedFigures({"A": None}, total=UNKNOWN), 2) == []
    assert set(monitor.breaches.values()) == {Breach(1, 1)}


def test_a_limit_that_is_no_longer_configured_is_cleared() -> None:
    before = LimitMonitor(RiskLimits(total=100, position=10))
    before.check(figures({"A": 11}, total=101), 0)
    after = LimitMonitor(RiskLimits(total=100), before.breaches, before.numbers)
    key = LimitKey(LimitKind.POSITION, "A")
    assert after.check(figures({"A": 11}, total=101), 5) == [LimitChange(key, False, 1, 0, 5, None, None)]


def test_a_successor_reports_no_breach_again() -> None:
    before = LimitMonitor(RiskLimits(total=100))
    for total in (101, 50, 101):
        before.check(figures(total=total), 0)
    after = LimitMonitor(RiskLimits(total=100), before.breaches, before.numbers)
    found = [brief(after.check(figures(total=total), 1)) for total in (105, 50, 101)]
    assert found == [[], [("total", "", False, 2)], [("total", "", True, 3)]]


@few
@given(st.lists(st.none() | st.floats(0, 200), max_size=60), st.floats(0, 0.9))
def test_breaches_and_clearances_alternate(totals: list[float | None], hysteresis: float) -> None:
    monitor = LimitMonitor(RiskLimits(total=100, hysteresis=hysteresis))
    changes = []
    for at, total in enumerate(totals):
        changes += monitor.check(LimitedFigures({}, total=Figure(total)), at)
        if total is not None and total > 100:
            assert monitor.breaches
        if total is not None and total <= 100 * (1 - hysteresis):
            assert not monitor.breaches
    assert [change.is_breached for change in changes] == [number % 2 == 0 for number in range(len(changes))]
    assert [change.number for change in changes] == [number // 2 + 1 for number in range(len(changes))]


# The safety controller.


def play(controller: SafetyController, path: list[tuple[float, dict[SafetyMeasure, Any]]]) -> str:
    """A letter for each update, `T` while tripped and `.` otherwise; times are in seconds."""
    states = []
    for second, measures in path:
        found = {measure: value if isinstance(value, Figure) else Figure(value) for measure, value in measures.items()}
        states.append(controller.update(found, int(1000 * second)))
    return "".join("T" if state is SafetyState.TRIPPED else "." for state in states)


def test_it_recovers_by_itself_after_it_was_calm() -> None:
    controller = SafetyController(SafetyLimits(daily_loss=100, calm=10))
    path = [(0, 50), (1, 101), (2, 95), (15, 95), (16, 90), (25, 80), (26, 80), (27, 101)]
    assert play(controller, [(second, {LOSS: loss}) for second, loss in path]) == ".TTTTT.T"


def test_what_is_not_calm_begins_the_wait_again() -> None:
    controller = SafetyController(SafetyLimits(daily_loss=100, calm=10))
    path: list[tuple[float, Any]] = [(0, 101), (1, 50), (9, 95), (12, 50), (20, UNKNOWN), (25, 50), (34, 50), (35, 50)]
    assert play(controller, [(second, {LOSS: loss}) for second, loss in path]) == "TTTTTTT."


def test_it_recovers_by_hand_alone_if_so_configured() -> None:
    controller = SafetyController(SafetyLimits(drawdown=0.2, recovery="manual", calm=0))
    assert play(controller, [(0, {DRAWDOWN: 0.21}), (9, {DRAWDOWN: 0.0}), (9999, {DRAWDOWN: 0.0})]) == "TTT"
    controller.reset()
    assert controller.state is SafetyState.NORMAL
    assert play(controller, [(10000, {DRAWDOWN: 0.1}), (10001, {DRAWDOWN: 0.3})]) == ".T"


def test_losses_and_performance_are_watched() -> None:
    limits = SafetyLimits(daily_loss=100, drawdown=0.1, value_at_risk=50, uncertainty=0.3, confidence=0.6)
    good = {LOSS: 0.0, DRAWDOWN: 0.0, SafetyMeasure.VALUE_AT_RISK: 0.0, SafetyMeasure.UNCERTAINTY: 0.0}
    good |= {SafetyMeasure.CONFIDENCE: 0.9}
    bad = {LOSS: 101, DRAWDOWN: 0.11, SafetyMeasure.VALUE_AT_RISK: 51, SafetyMeasure.UNCERTAINTY: 0.31}
    bad |= {SafetyMeasure.CONFIDENCE: 0.59}
    for measure, value in bad.items():
        controller = SafetyController(limits)
        assert play(controller, [(0, good), (1, {**good, measure: value})]) == ".T"
        assert controller.progress.tripped == (measure,)
    assert play(SafetyController(limits), [(0, {})]) == "."


def test_the_measures_of_one_trip_are_kept_until_it_ends() -> None:
    controller = SafetyController(SafetyLimits(daily_loss=100, drawdown=0.1, calm=0))
    play(controller, [(0, {LOSS: 101, DRAWDOWN: 0.0}), (1, {LOSS: 95, DRAWDOWN: 0.2})])
    assert controller.progress.tripped == (LOSS, DRAWDOWN)
    successor = SafetyController(controller.limits, controller.progress)
    assert play(successor, [(2, {LOSS: 95, DRAWDOWN: 0.0}), (3, {LOSS: 0, DRAWDOWN: 0.0})]) == "T."


# The emergency stop.


def test_a_stop_fires_once() -> None:
    stop = EmergencyStop(StopRule())
    found = [stop.update(reasons, at) for at, reasons in enumerate([(), ("a",), ("a", "b"), (), ("b",)])]
    assert [each for each in found if each] == [StopChange(True, 1, ("a",), 1, 1)]
    assert stop.is_in_force


def test_its_reasons_are_those_of_its_rule() -> None:
    stop = EmergencyStop(StopRule(limits=(LimitKind.LEVERAGE,), safety=(LOSS,)))
    found = stop.reasons([LimitKind.LEVERAGE, LimitKind.LEVERAGE, LimitKind.TOTAL], [LOSS, DRAWDOWN])
    assert found == ("limit:leverage", "safety:daily_loss")


def test_a_stop_is_lifted_by_hand_alone_unless_configured_otherwise() -> None:
    stop = EmergencyStop(StopRule(calm=0))
    stop.update(["a"], 0)
    assert [stop.update([], at) for at in (1, 10**9)] == [None, None]
    assert stop.lift(10**9) == StopChange(False, 1, ("a",), 0, 10**9, by_hand=True)
    assert stop.lift(10**9) is None
    assert stop.update(["b"], 10**9 + 1) == StopChange(True, 2, ("b",), 10**9 + 1, 10**9 + 1)


def test_a_stop_is_lifted_by_itself_after_calm_in_which_all_was_known() -> None:
    stop = EmergencyStop(StopRule(lift="automatic", calm=10))
    stop.update(["a"], 0)
    path = [(1, (), True), (9, ("a",), True), (10, (), True), (15, (), False), (16, (), True), (25, (), True)]
    assert [stop.update(reasons, 1000 * at, is_known=known) for at, reasons, known in path] == [None] * 6
    assert stop.update((), 26_000) == StopChange(False, 1, ("a",), 0, 26_000)


def test_a_successor_fires_no_stop_again() -> None:
    stop = EmergencyStop(StopRule())
    stop.update(["a"], 0)
    successor = EmergencyStop(StopRule(), stop.progress)
    assert successor.update(["a"], 5) is None
    lifted = successor.lift(6)
    assert lifted is not None
    fired = EmergencyStop(StopRule(), successor.progress).update(["a"], 7)
    assert fired is not None
    assert (lifted.number, fired.number) == (1, 2)


@few
@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()), max_size=60),
    st.sampled_from(["manual", "automatic"]),
)
def test_stops_and_lifts_alternate_through_restarts(path: list[tuple[bool, bool, bool, bool]], lift: Any) -> None:
    rule = StopRule(lift=lift, calm=3)
    stop, changes = EmergencyStop(rule), []
    for at, (has_reason, is_known, by_hand, restarts) in enumerate(path):
        if restarts:
            stop = EmergencyStop(rule, stop.progress)
        changes.append(stop.update(["a"] if has_reason else [], 1000 * at, is_known=is_known))
        changes.append(stop.lift(1000 * at) if by_hand else None)
    found = [change for change in changes if change]
    assert [change.is_fired for change in found] == [number % 2 == 0 for number in range(len(found))]
    assert [change.number for change in found] == [number // 2 + 1 for number in range(len(found))]
    if lift == "manual":
        assert all(change.is_fired or change.by_hand for change in found)
