"""A short part of the matrix; `make chaos` does the same for as long as is asked."""

from pathlib import Path

import pytest

from tests.chaos.broker import ProxiedBroker
from tests.chaos.faults import FAULTS
from tests.chaos.matrix import Plan, broker_properties, run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "faults"),
    [
        (Plan("exactly_once", "classic", 1), list(FAULTS)),
        (Plan("exactly_once", "consumer", 2), ["killed", "connections cut"]),
        (Plan("at_least_once", "classic", 3), ["killed", "answer dropped"]),
    ],
    ids=str,
)
def test_nothing_is_lost_through_any_fault(tmp_path: Path, plan: Plan, faults: list[str]) -> None:
    """Each once; and nothing is doubled when that is promised."""
    with ProxiedBroker(tmp_path / "broker", broker_properties()) as broker:
        report = run(broker, tmp_path, plan, faults)
    assert not report.problems, report
    assert all(row.times == 1 for row in report.rows.values())
