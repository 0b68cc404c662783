"""Whatever Redis and the registry do, others scrape within a second, and every health check is answered."""

from __future__ import annotations

import pytest

from tests.hostile import peer_attacks
from tests.hostile.row import SCRAPE_SECONDS, Row, assert_served
from tests.hostile.stage import Stage
from tests.support.peers import Peer

pytestmark = pytest.mark.hostile


@pytest.mark.parametrize("name", peer_attacks.PEERS)
def test_others_are_served_while_a_peer_misbehaves(stage: Stage, rows: list[Row], name: str) -> None:
    """There is no reading before it to compare with."""
    talk, setting, scheme = peer_attacks.PEERS[name]
    with Peer(talk) as peer:
        settings = {setting: f"{scheme}://{peer.place}"}
        row = stage.suffer(peer_attacks.__name__, name, peer_attacks.ATTACKS[name], **settings)
        assert peer.asked
    row = row._replace(reading=None)
    rows.append(row)
    assert_served(row)
    assert row.scrape_p99 < SCRAPE_SECONDS
