"""The engine, images that stand in for those that cannot be pulled, and the project as it is built and run in it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.containers.engine import CACHE, Engine

ROOT = Path(__file__).parents[2]
IMAGES = Path(__file__).with_name("images")
LOG4J = ROOT / "tests" / "support" / "log4j2.yaml"
# What `docker compose up --build` reads.
PROJECT = (
    ".constraints", ".dockerignore", "Dockerfile", "LICENSE", "README.md", "docker-compose.yml", "exporter", "grafana",
    "native", "prometheus.yml", "pyproject.toml",
)  # fmt: skip
BUILD_SECONDS = 600.0


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A running engine without images."""
    directory = CACHE / "work"
    shutil.rmtree(directory, ignore_errors=True)
    engine = Engine(directory)
    try:
        yield engine.start()
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def project(engine: Engine) -> Path:
    """The project's folder, in which the images that are named by digests are named by tags; stand-ins have these."""
    folder = engine.directory / "project"
    folder.mkdir()
    for name in PROJECT:
        source = ROOT / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    for name in ("Dockerfile", "docker-compose.yml"):
        text = (ROOT / name).read_text()
        (folder / name).write_text(re.sub(r"@sha256:[0-9a-f]{64}", "", text))
    _stand_in(engine, folder)
    return folder


@pytest.fixture(scope="session")
def image(engine: Engine, project: Path) -> str:
    """The name of the sidecar's image, built."""
    engine.docker("build", "--tag", "marketdata-exporter:local", f"/place/{project.name}", timeout=BUILD_SECONDS)
    return "marketdata-exporter:local"


def _stand_in(engine: Engine, project: Path) -> None:
    python = re.findall(r"^FROM (\S+)", (project / "Dockerfile").read_text(), flags=re.MULTILINE)[0]
    engine.docker("import", "-", python, input=CACHE / "python.tar", timeout=BUILD_SECONDS)
    engine.docker("import", "-", "services", input=CACHE / "services.tar", timeout=BUILD_SECONDS)
    context = engine.directory / "images"
    shutil.copytree(IMAGES, context)
    shutil.copytree(CACHE / "kafka", context / "kafka")
    for name in ("log4j2.yaml", "tools-log4j2.yaml"):
        shutil.copy(LOG4J, context / name)
    (context / "server.properties").write_text("")  # the settings are in the environment
    services = yaml.safe_load((project / "docker-compose.yml").read_text())["services"]
    for name in ("kafka", "redis", "prometheus", "grafana"):
        tag = services[name]["image"]
        engine.docker("build", "--target", name, "--tag", tag, "/place/images", timeout=BUILD_SECONDS)
