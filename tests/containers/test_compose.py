"""`docker compose up --build --wait`, as the README has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers.engine import Engine
from tests.support.sidecar import Scrape
from tests.support.waiting import eventually

pytestmark = pytest.mark.containers

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = {
    name: each
    for name, each in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].items()
    if "profiles" not in each
}
PAGES = {"sidecar-1": "http://127.0.0.1:8001", "sidecar-2": "http://127.0.0.1:8002"}
PROMETHEUS = "http://127.0.0.1:9090/api/v1"
UP_SECONDS = 400.0
SETTLED_SECONDS = 90.0
MEMORY_BYTES = 100 * 1024**2

each_service = pytest.mark.parametrize("service", SERVICES)


class Composed:
    """The services of the compose file, in an engine."""

    def __init__(self, engine: Engine, project: Path) -> None:
        self._engine = engine
        self._project = f"/place/{project.name}"

    def compose(self, *arguments: str, timeout: float = UP_SECONDS) -> str:
        """What a command of `docker compose` prints."""
        return self._engine.docker("compose", "--project-directory", self._project, *arguments, timeout=timeout)

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of a service's container."""
        container = self.compose("ps", "--all", "--quiet", service).strip()
        known: dict[str, Any] = json.loads(self._engine.docker("inspect", container))[0]
        return known

    def partitions(self, sidecar: str) -> int:
        """How many partitions a sidecar has."""
        scrape = Scrape(self._engine.get(f"{PAGES[sidecar]}/metrics"))
        return len(scrape.series("marketdata_consumer_position_offset"))

    def prometheus(self, path: str) -> Any:
        """What Prometheus' API says."""
        return json.loads(self._engine.get(f"{PROMETHEUS}/{path}"))["data"]

    def process(self, service: str) -> dict[str, str]:
        """The status of the first process of a service: `Uid`, `CapEff` and others."""
        lines = self.compose("exec", "--no-TTY", service, "cat", "/proc/1/status").splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@pytest.fixture(scope="module")
def composed(engine: Engine, project: Path) -> Iterator[Composed]:
    """All services, up and healthy; that this command succeeds is what the first test is about."""
    composed = Composed(engine, project)
    try:
        composed.compose("up", "--build", "--wait")
        yield composed
    finally:
        composed.compose("down", "--volumes")


@each_service
def test_every_service_is_up_and_healthy(composed: Composed, service: str) -> None:
    assert composed.inspect(service)["State"]["Health"]["Status"] == "healthy"


@each_service
def test_a_service_has_no_capability_and_can_get_none(composed: Composed, service: str) -> None:
    process = composed.process(service)
    assert {process[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert process["NoNewPrivs"] == "1"


@pytest.mark.parametrize("service", ["collectors", *PAGES])
def test_what_is_built_here_runs_as_nobody_in_particular_and_cannot_write(composed: Composed, service: str) -> None:
    assert composed.process(service)["Uid"].split() == ["65532"] * 4
    refused = composed.compose("exec", "--no-TTY", service, "sh", "-c", "touch /opt/any 2>&1 || true")
    assert "Read-only file system" in refused


def test_prometheus_scrapes_both_sidecars_and_has_loaded_the_rules(composed: Composed) -> None:
    def are_up() -> bool:
        targets = composed.prometheus("targets")["activeTargets"]
        return sorted((target["labels"]["instance"], target["health"]) for target in targets) == [
            (f"{sidecar}:8000", "up") for sidecar in PAGES
        ]

    eventually(are_up, SETTLED_SECONDS)
    loaded = [rule["name"] for group in composed.prometheus("rules")["groups"] for rule in group["rules"]]
    files = [yaml.safe_load(file.read_text()) for file in (ROOT / "grafana" / "rules").glob("*.yml")]
    written = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    assert sorted(loaded) == sorted(rule.get("alert") or rule["record"] for rule in written)


def test_feeds_are_seen_by_prometheus_and_each_by_one_sidecar(composed: Composed) -> None:
    def owners() -> set[str]:
        query = "query?query=count%20by(region,exchange,request_type)(marketdata_last_batch_size)"
        return {sample["value"][1] for sample in composed.prometheus(query)["result"]}

    eventually(lambda: owners() == {"1"}, SETTLED_SECONDS)


@pytest.mark.parametrize("sidecar", PAGES)
def test_a_sidecar_takes_little_memory(engine: Engine, composed: Composed, sidecar: str) -> None:
    """Less than 100 MiB, its own and that of its health checks; files that the kernel keeps do not count."""
    container = composed.inspect(sidecar)["Id"]
    usage = json.loads(engine.docker("stats", "--no-stream", "--format", "{{json .}}", container))["MemUsage"]
    number, unit = usage.split(" / ")[0][:-3], usage.split(" / ")[0][-3:]
    assert float(number) * {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}[unit] < MEMORY_BYTES


def test_the_other_sidecar_takes_over_from_one_that_is_killed_and_shares_again(
    engine: Engine, composed: Composed
) -> None:
    eventually(lambda: all(map(composed.partitions, PAGES)), SETTLED_SECONDS, "a sidecar has no partitions")
    total = sum(map(composed.partitions, PAGES))
    engine.docker("kill", "--signal=KILL", composed.inspect("sidecar-2")["Id"])
    eventually(lambda: composed.partitions("sidecar-1") == total, SETTLED_SECONDS, "partitions were not taken over")
    composed.compose("up", "--wait", "--no-recreate", "sidecar-2")
    eventually(lambda: composed.partitions("sidecar-1") < total, SETTLED_SECONDS, "partitions were not shared")


@pytest.mark.parametrize("service", [*PAGES, "collectors"])
def test_a_service_that_is_stopped_ends_in_time_with_a_clean_exit_code(composed: Composed, service: str) -> None:
    """One that does not end within its grace period is killed, and its code is 137."""
    composed.compose("stop", service)
    assert composed.inspect(service)["State"]["ExitCode"] == 0
