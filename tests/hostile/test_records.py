"""Whatever is written into its topics, others scrape within a second, and every health check is answered."""

from __future__ import annotations

import pytest

from tests.hostile import record_attacks
from tests.hostile.row import SCRAPE_SECONDS, Row, assert_served
from tests.hostile.stage import Stage

pytestmark = pytest.mark.hostile


@pytest.mark.parametrize("name", record_attacks.ATTACKS)
def test_others_are_served_while_records_attack(stage: Stage, rows: list[Row], name: str) -> None:
    row = stage.suffer(record_attacks.__name__, name, record_attacks.ATTACKS[name])
    rows.append(row)
    assert_served(row)
    assert row.scrape_p99 < SCRAPE_SECONDS
