"""The image by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.containers.engine import Engine
from tests.support.waiting import eventually

pytestmark = pytest.mark.containers

CONFINED = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges:true",
    "--memory=512m",
    "--pids-limit=256",
)
NOWHERE = ("--env", "MARKETDATA_KAFKA__BOOTSTRAP_SERVERS=127.0.0.1:1", "--env", "MARKETDATA_INSTANCE=one")
SETTLED_SECONDS = 60.0

Run = Callable[..., str]


@pytest.fixture
def run(engine: Engine, image: str) -> Iterator[Run]:
    """Starts a confined container in the background, with options of `docker run`; returns its id."""
    started: list[str] = []

    def start(*options: str) -> str:
        started.append(engine.docker("run", "--detach", *CONFINED, *NOWHERE, *options, image).strip())
        return started[-1]

    yield start
    for container in started:
        engine.docker("rm", "--force", container)


def state(engine: Engine, container: str) -> dict[str, Any]:
    """What the engine knows of a container."""
    known: dict[str, Any] = json.loads(engine.docker("inspect", container))[0]["State"]
    return known


def health(engine: Engine, container: str) -> str:
    """`starting`, `healthy` or `unhealthy`."""
    return str(state(engine, container)["Health"]["Status"])


def test_the_image_says_its_version_and_holds_nothing_to_install_with(engine: Engine, image: str) -> None:
    assert engine.docker("run", "--rm", image, "--version").startswith("marketdata-exporter ")
    listed = engine.docker("run", "--rm", "--entrypoint=ls", image, "/opt/marketdata-exporter/bin").split()
    assert "marketdata-exporter" in listed
    assert not [name for name in listed if name.startswith("pip")]


def test_a_confined_container_is_healthy_and_stops_cleanly(engine: Engine, run: Run) -> None:
    """Read-only, without capabilities and a broker; what the image itself asks is asked every second."""
    container = run("--health-interval=1s")
    eventually(lambda: health(engine, container) == "healthy", SETTLED_SECONDS)
    engine.docker("stop", "--time=20", container)
    assert (state(engine, container)["ExitCode"], state(engine, container)["OOMKilled"]) == (0, False)


def test_a_container_that_stands_still_is_unhealthy(engine: Engine, run: Run) -> None:
    container = run("--health-interval=1s", "--health-timeout=3s", "--health-retries=1")
    eventually(lambda: health(engine, container) == "healthy", SETTLED_SECONDS)
    engine.docker("kill", "--signal=STOP", container)
    eventually(lambda: health(engine, container) == "unhealthy", SETTLED_SECONDS)
    engine.docker("kill", "--signal=CONT", container)
    eventually(lambda: health(engine, container) == "healthy", SETTLED_SECONDS)
