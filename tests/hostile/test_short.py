"""Two attacks in little time, which all runs of the tests include; how long scrapes take is for the whole suite."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.hostile import http_attacks, record_attacks
from tests.hostile.row import Row, assert_served
from tests.hostile.stage import SHORT, Stage
from tests.support.kafka import Broker


@pytest.fixture(scope="module")
def short(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A stage with little to read."""
    return Stage(broker, tmp_path_factory.mktemp("hostile"), SHORT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name"),
    [
        (http_attacks, "wide accepts"),
        (record_attacks, "broken fields, stderr unread"),
    ],
    ids=["wide accepts", "stderr unread"],
)
def test_others_are_served_during_an_attack(short: Stage, rows: list[Row], module: ModuleType, name: str) -> None:
    row = short.suffer(module.__name__, name, module.ATTACKS[name])
    rows.append(row)
    assert_served(row)
