"""`marketdata-exporter audit` as its users run it, after everything."""

import json
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from tests.chaos.stage import Stage
from tests.support.sidecar import PROGRAM
from tests.support.waiting import eventually

AUDIT_SECONDS = 120.0
# /metrics may be a second old, and what was committed last is visible a moment later.
SETTLED_SECONDS = 30.0


@dataclass(frozen=True)
class Audit:
    """How many differences there are of each kind, the first of them, and how many batches were compared."""

    differences: Mapping[str, int]
    first: object
    batches: int

    def __str__(self) -> str:
        if not self.differences:
            return f"{self.batches} batches, they agree"
        counts = ", ".join(f"{number} {kind}" for kind, number in self.differences.items())
        return f"{self.batches} batches, they differ: {counts}; first {self.first}"


def audit_group(stage: Stage) -> Audit:
    """Compare input and events, summaries too: all of those who published have ended."""
    return _audit(stage, stage.deployment.events, "--strict-summaries")


def audit_witness(stage: Stage) -> Audit:
    """Compare input, the witness's events and its /metrics; it still runs."""
    metrics = f"http://127.0.0.1:{stage.witness.port}/metrics"
    found: list[Audit] = []

    def agrees() -> bool:
        found.append(_audit(stage, stage.witness_events, "--metrics", metrics))
        return not found[-1].differences

    with suppress(AssertionError):
        eventually(agrees, SETTLED_SECONDS)
    return found[-1]


def _audit(stage: Stage, events: str, *options: str) -> Audit:
    where = ["--bootstrap-servers", stage.brokers.bootstrap]
    topics = ["--topic", stage.deployment.topic, "--event-topic", events]
    command = [str(PROGRAM), "audit", *where, *topics, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_SECONDS, check=False)
    assert done.returncode in (0, 1), done.stderr
    said = json.loads(done.stdout)
    batches = sum(feed["batches"] for feed in said["feeds"].values())
    return Audit(said["differences"], said["first_differences"][:3], batches)
