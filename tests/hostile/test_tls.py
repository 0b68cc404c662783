"""Whatever is done to TLS and passwords, others scrape within a second, and every health check is answered."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.hostile import combined_attacks, tls_attacks
from tests.hostile.row import SCRAPE_SECONDS, Row, assert_served
from tests.hostile.stage import Stage
from tests.support.webfile import WebFiles, users

pytestmark = pytest.mark.hostile


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in (tls_attacks, combined_attacks) for name in module.ATTACKS]
)
def test_others_are_served_while_tls_is_attacked(
    stage: Stage, rows: list[Row], tmp_path: Path, module: ModuleType, name: str
) -> None:
    web = WebFiles(tmp_path)
    path = web.write(tls_server_config=web.tls(), basic_auth_users=users())
    given = {"web__config_file": str(path), "web__client__ca_file": str(web.authority.certificate)}
    row = stage.suffer(module.__name__, name, module.ATTACKS[name], **given)
    rows.append(row)
    assert_served(row)
    assert row.scrape_p99 < SCRAPE_SECONDS
