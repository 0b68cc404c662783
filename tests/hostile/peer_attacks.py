"""Attacks by the servers that a sidecar asks: they misbehave from its start on."""

from __future__ import annotations

import time
from typing import NamedTuple

from tests.hostile.attack import Attack, Target
from tests.support.peers import HTTP_DRIPS, HTTP_FLOODS, REDIS_DRIPS, REDIS_FLOODS, Talk


class Misbehaved(NamedTuple):
    """A server, the setting that names it, and the scheme of its URL."""

    talk: Talk
    setting: str
    scheme: str


def go_on(_: Target, until: float) -> None:
    """Let the server do it."""
    time.sleep(max(0.0, until - time.monotonic()))


PEERS = {
    "dripping Redis": Misbehaved(REDIS_DRIPS["bulk"], "redis__url", "redis"),
    "endless Redis": Misbehaved(REDIS_FLOODS["list"], "redis__url", "redis"),
    "dripping registry": Misbehaved(HTTP_DRIPS["body"], "output__schema_registry", "http"),
    "endless registry": Misbehaved(HTTP_FLOODS["body"], "output__schema_registry", "http"),
}
ATTACKS = dict.fromkeys(PEERS, Attack(go_on))
