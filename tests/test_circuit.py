"""The states of a circuit, with invented times."""

from __future__ import annotations

from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.performance.circuit import Circuit, CircuitState

LIMIT = 3
OPEN_SECONDS = 10


def breaker(failures: int = 0, now: float = 0) -> Circuit:
    """A breaker after some failures at one moment."""
    made = Circuit(LIMIT, OPEN_SECONDS)
    for _ in range(failures):
        made.failed(now)
    return made


@given(st.lists(st.tuples(st.integers(0, 2 * OPEN_SECONDS), st.booleans())))
def test_attempts_are_refused_only_after_consecutive_failures_and_for_a_limited_time(
    steps: list[tuple[int, bool]],
) -> None:
    """Whatever happened before, one rule decides whether an attempt is allowed and when the next one is."""
    circuit, now = breaker(), 0
    tries: list[tuple[int, bool]] = []
    for pause, succeeds in steps:
        now += pause
        in_a_row = len(list(takewhile(lambda past: not past[1], reversed(tries))))
        wait = max(0, tries[-1][0] + OPEN_SECONDS - now) if in_a_row >= LIMIT else 0
        assert circuit.retry_in(now) == wait
        assert circuit.allows(now) == (wait == 0)
        if wait == 0:
            tries.append((now, succeeds))
            circuit.succeeded() if succeeds else circuit.failed(now)
            assert (circuit.state is CircuitState.CLOSED) == (succeeds or in_a_row + 1 < LIMIT)


@given(st.integers(0, LIMIT - 1), st.integers(0, LIMIT - 1))
def test_a_success_forgets_the_failures_before_it(before: int, after: int) -> None:
    circuit = breaker(before)
    circuit.succeeded()
    for _ in range(after):
        circuit.failed(0)
    assert circuit.state is CircuitState.CLOSED


def test_half_open_allows_one_attempt() -> None:
    circuit = breaker(LIMIT)
    states = [circuit.state]
    assert [circuit.allows(OPEN_SECONDS), circuit.allows(OPEN_SECONDS)] == [True, False]
    assert [*states, circuit.state] == [CircuitState.OPEN, CircuitState.HALF_OPEN]


def test_an_attempt_that_never_reports_does_not_refuse_others_without_end() -> None:
    circuit = breaker(LIMIT)
    assert circuit.allows(OPEN_SECONDS)
    assert not circuit.allows(2 * OPEN_SECONDS - 1)
    assert circuit.allows(2 * OPEN_SECONDS)


def test_one_failure_while_half_open_opens_the_circuit_again() -> None:
    circuit = breaker(LIMIT)
    assert circuit.allows(OPEN_SECONDS)
    circuit.failed(OPEN_SECONDS)
    assert circuit.state is CircuitState.OPEN
    assert circuit.retry_in(OPEN_SECONDS) == OPEN_SECONDS


def test_late_failures_do_not_keep_the_circuit_open_for_longer() -> None:
    circuit = breaker(LIMIT)
    circuit.failed(OPEN_SECONDS - 1)
    assert circuit.allows(OPEN_SECONDS)


def test_an_attempt_of_before_the_circuit_opened_belongs_to_another_turn() -> None:
    circuit = breaker(LIMIT - 1)
    before = circuit.turn
    circuit.failed(0)
    opened = circuit.turn
    assert circuit.allows(OPEN_SECONDS)
    assert len({before, opened, circuit.turn}) == 3


def test_a_cancelled_trial_makes_room_for_another() -> None:
    circuit = breaker(LIMIT)
    assert circuit.allows(OPEN_SECONDS)
    circuit.abandoned()
    assert circuit.state is CircuitState.HALF_OPEN
    assert circuit.allows(OPEN_SECONDS)


@pytest.mark.parametrize("failures", [0, LIMIT])
def test_a_cancelled_attempt_changes_nothing_but_a_trial(failures: int) -> None:
    circuit = breaker(failures)
    before = circuit.state, circuit.turn, circuit.retry_in(0)
    circuit.abandoned()
    assert (circuit.state, circuit.turn, circuit.retry_in(0)) == before
