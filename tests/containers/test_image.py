"""The image by itself."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.conftest import BUILD_SECONDS
from tests.containers.engine import Engine
from tests.support.waiting import eventually
from tests.support.webfile import PASSWORD, SCRAPER, USER, WebFiles, users

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
SBOM = "/usr/share/sbom/marketdata-exporter.cdx.json"
IMAGE_BYTES = 300 * 1024**2
# What the environment's own interpreter finds in it.
INSTALLED = (
    "from importlib.metadata import distributions as all; print(*(f'{d.name} {d.version}' for d in all()), sep='\\n')"
)

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


def test_the_native_core_is_in_the_image(engine: Engine, image: str) -> None:
    """Built by Debian's Rust, which is not shipped."""
    assert engine.docker("run", "--rm", *CONFINED, image, "--version").endswith("(native core)\n")


def health(engine: Engine, container: str) -> str:
    """`starting`, `healthy` or `unhealthy`."""
    return str(state(engine, container)["Health"]["Status"])


def test_the_image_says_its_version_and_holds_nothing_to_install_with(engine: Engine, image: str) -> None:
    assert engine.docker("run", "--rm", image, "--version").startswith("marketdata-exporter ")
    listed = engine.docker("run", "--rm", "--entrypoint=ls", image, "/opt/marketdata-exporter/bin").split()
    assert "marketdata-exporter" in listed
    assert not [name for name in listed if name.startswith("pip")]


def test_the_image_is_of_a_moderate_size(engine: Engine, image: str) -> None:
    """235 MB on the slim Python; it has no compiler, no pip in the environment and no tests."""
    assert int(engine.docker("image", "inspect", "--format={{.Size}}", image)) < IMAGE_BYTES


def test_the_bill_of_materials_lists_what_is_in_the_image(engine: Engine, project: Path, image: str) -> None:
    """Python's and Debian's packages and the interpreter, no more and no less; the file beside it is the same."""

    def ask(program: str, *arguments: str) -> set[str]:
        return set(engine.docker("run", "--rm", f"--entrypoint={program}", image, *arguments).split("\n")) - {""}

    bill = json.loads(engine.docker("run", "--rm", "--entrypoint=cat", image, SBOM))
    listed: dict[str, set[str]] = {"pypi": set(), "deb": set(), "generic": set()}
    for each in bill["components"]:
        kind = "pypi" if "purl" not in each else re.findall("^pkg:([a-z]+)/", each["purl"])[0]
        listed[kind].add(f"{each['name']} {each['version']}")
    assert listed["pypi"] == ask("python", "-c", INSTALLED)
    assert listed["deb"] == ask("dpkg-query", "--show", "--showformat=${Package} ${Version}\\n")
    assert listed["generic"] == {each.lower() for each in ask("python", "--version")}
    assert any(name.startswith("bcrypt ") for name in listed["pypi"])
    engine.docker("build", "--target=sbom", "--output=/place/bill", f"/place/{project.name}", timeout=SETTLED_SECONDS)
    assert json.loads((engine.directory / "bill" / "sbom.cdx.json").read_text()) == bill


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


@pytest.fixture(scope="module")
def risky(engine: Engine, project: Path) -> Iterator[tuple[str, ...]]:
    """The options and the name of an image with the extra risk, whose sidecar has positions."""
    directory = engine.directory / "risk"
    directory.mkdir()
    (directory / "positions.yml").write_text("portfolios: {main: {cash: 5}}")
    arguments = ("--build-arg=EXTRA=risk", "--tag=marketdata-exporter:risk")
    engine.docker("build", *arguments, f"/place/{project.name}", timeout=BUILD_SECONDS)
    settings = {"ENABLED": "true", "INTERVAL": "1s", "POSITIONS__FILE": "/risk/positions.yml"}
    variables = [f"--env=MARKETDATA_RISK__{name}={value}" for name, value in settings.items()]
    yield (*variables, "--env=MARKETDATA_OUTPUT__ENABLED=false", "--volume=/place/risk:/risk:ro")
    shutil.rmtree(directory)


def test_with_the_extra_risk_a_confined_container_evaluates_portfolios(engine: Engine, risky: tuple[str, ...]) -> None:
    """NumPy writes nothing, and is in the bill of materials of this image only."""
    image = "marketdata-exporter:risk"
    container = engine.docker("run", "--detach", *CONFINED, *NOWHERE, *risky, image).strip()
    read = "import urllib.request as http; print(http.urlopen('http://127.0.0.1:8000/api/v1/risk').read().decode())"

    def evaluated() -> list[dict[str, Any]]:
        answer = engine.docker("exec", container, "python", "-c", read)
        return list(json.loads(answer)["data"]["portfolios"])

    eventually(lambda: state(engine, container)["Health"]["Status"] == "healthy", SETTLED_SECONDS)
    (portfolio,) = eventually(evaluated, SETTLED_SECONDS)
    assert portfolio["figures"]["value"] == {"value": 5.0}
    engine.docker("rm", "--force", container)
    assert "pkg:pypi/numpy@" in engine.docker("run", "--rm", "--entrypoint=cat", image, SBOM)


def test_without_the_extra_the_image_tells_how_it_is_built_with_it(
    engine: Engine, image: str, risky: tuple[str, ...]
) -> None:
    with pytest.raises(AssertionError, match="docker build --build-arg EXTRA=risk"):
        engine.docker("run", "--rm", *risky, image)
    assert "pkg:pypi/numpy@" not in engine.docker("run", "--rm", "--entrypoint=cat", image, SBOM)


@pytest.fixture(scope="module")
def web(engine: Engine) -> Iterator[WebFiles]:
    """A web configuration file with TLS, client certificates and passwords, which any user may read."""
    directory = engine.directory / "web"
    directory.mkdir()
    web = WebFiles(directory)
    web.write(tls_server_config=web.mutual(client_allowed_sans=[SCRAPER]), basic_auth_users=users())
    for file in directory.iterdir():
        file.chmod(0o444)
    yield web
    shutil.rmtree(directory)


def secured(web: WebFiles, password: str) -> list[str]:
    """The options of `docker run` for a sidecar with this file, whose health check has a certificate and a password."""
    client = {
        "CA_FILE": web.authority.certificate.name,
        "CERT_FILE": web.scraper.certificate.name,
        "KEY_FILE": web.scraper.key.name,
    }
    settings = {f"CLIENT__{name}": f"/web/{file}" for name, file in client.items()}
    settings |= {"CONFIG_FILE": "/web/web.yml", "CLIENT__USERNAME": USER, "CLIENT__PASSWORD": password}
    variables = [f"--env=MARKETDATA_WEB__{name}={value}" for name, value in settings.items()]
    return ["--volume=/place/web:/web:ro", "--health-interval=1s", *variables]


@pytest.mark.parametrize("user", ["65532:65532", "1000740000:0", "4242:4343"])
def test_any_user_may_run_it_with_tls_and_passwords_and_its_health_check_gets_in(
    engine: Engine, run: Run, web: WebFiles, user: str
) -> None:
    container = run(f"--user={user}", *secured(web, PASSWORD))
    eventually(lambda: health(engine, container) == "healthy", SETTLED_SECONDS)
    status = engine.docker("exec", container, "cat", "/proc/1/status")
    assert re.findall(r"^(?:Uid|Gid):\t(\d+)", status, re.MULTILINE) == user.split(":")
    assert set(re.findall(r"^Cap\w+:\t(\w+)", status, re.MULTILINE)) == {"0" * 16}


def test_a_health_check_with_a_wrong_password_is_refused(engine: Engine, run: Run, web: WebFiles) -> None:
    container = run(*secured(web, "wrong"), "--health-retries=1", "--health-start-period=1s")
    eventually(lambda: health(engine, container) == "unhealthy", SETTLED_SECONDS)
    assert PASSWORD not in engine.docker("logs", container)
