"""Whatever is done to it over HTTP, others scrape within a second, and every health check is answered."""

from __future__ import annotations

import pytest

from tests.hostile import http_attacks
from tests.hostile.row import SCRAPE_SECONDS, Row, assert_served
from tests.hostile.stage import Stage

pytestmark = pytest.mark.hostile


@pytest.mark.parametrize("name", http_attacks.ATTACKS)
def test_others_are_served_while_http_is_attacked(stage: Stage, rows: list[Row], name: str) -> None:
    row = stage.suffer(http_attacks.__name__, name, http_attacks.ATTACKS[name])
    rows.append(row)
    assert_served(row)
    assert row.scrape_p99 < SCRAPE_SECONDS
