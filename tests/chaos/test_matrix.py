"""A short part of the matrix; `make chaos` does the same for as long as is asked."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos import consumers
from tests.chaos.matrix import run
from tests.chaos.trial import Plan

# What no other of the tests that always run does to a sidecar and its broker.
ALWAYS = ("broker killed", "answer dropped")
FIRST = ("killed", *ALWAYS, "connections cut", "request late")
THREE = ("coordinator killed", "leaders moved")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "faults"),
    [
        pytest.param(Plan("exactly_once", "classic", seed=1), ALWAYS, id="always"),
        pytest.param(Plan("exactly_once", "classic", seed=1), FIRST, id="exactly_once", marks=pytest.mark.chaos),
        pytest.param(Plan("exactly_once", "consumer", seed=2), ("killed",), id="KIP-848", marks=pytest.mark.chaos),
        pytest.param(Plan("exactly_once", "consumer", 3, 3), THREE, id="three brokers", marks=pytest.mark.chaos),
        pytest.param(
            Plan("at_least_once", "classic", seed=4), ("killed",), id="at_least_once", marks=pytest.mark.chaos
        ),
    ],
)
def test_nothing_is_lost_through_any_fault(tmp_path: Path, plan: Plan, faults: Sequence[str]) -> None:
    """Each once; and nothing is doubled when that is promised."""
    report = run(tmp_path, plan, faults)
    assert not report.problems, report
    assert all(row.times == 1 for row in report.rows.values())


@pytest.mark.chaos
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_events_of_an_ingesting_service_are_handled_in_order_through_faults(tmp_path: Path, protocol: str) -> None:
    """At least once each, none is skipped, and what no handler takes becomes a dead letter."""
    faults = ("killed", "broker killed", "asleep", "scaled 1, 4, 1, 2")
    report = consumers.run(tmp_path, Plan("consumers", protocol, seed=5), faults)
    assert not report.problems, report
    assert all(row.times == 1 for row in report.rows.values())
