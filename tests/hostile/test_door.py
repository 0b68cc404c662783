"""Whatever is done to streams and to paths that change the sidecar, others are served, and the log stays small."""

from __future__ import annotations

import pytest

from tests.hostile import door_attacks
from tests.hostile.row import SCRAPE_SECONDS, Row, assert_served
from tests.hostile.stage import Stage

pytestmark = pytest.mark.hostile


@pytest.mark.parametrize("name", door_attacks.ATTACKS)
def test_others_are_served_while_streams_and_changes_are_attacked(stage: Stage, rows: list[Row], name: str) -> None:
    row = stage.suffer(door_attacks.__name__, name, door_attacks.ATTACKS[name])
    rows.append(row)
    assert_served(row)
    assert row.scrape_p99 < SCRAPE_SECONDS
