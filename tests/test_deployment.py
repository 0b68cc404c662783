"""The shipped ways to run it: Dockerfile, docker-compose.yml and prometheus.yml, as far as goes without an engine.

tests/containers has the rest.
"""

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config import loader
from exporter.preflight import mistakes_of_cache
from tests.support.dockerfile import arguments, build, stages
from tests.support.missing import missing
from tests.support.prometheus import promtool

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
SIDECARS = ("sidecar-1", "sidecar-2")
WHEEL, BUILDER, BILL, SBOM, IMAGE = stages(ROOT / "Dockerfile")
WRITES_TO_ITS_ROOT = {"kafka"}

each_service = pytest.mark.parametrize("service", SERVICES)


def _pinned(image: str) -> bool:
    """Whether an image has a tag that names a full version, with its digest, or is the one that is built here."""
    pinned = r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}"
    return image == "marketdata-exporter:local" or re.fullmatch(pinned, image) is not None


def _refuse_files(path: str) -> str:
    raise OSError(f"{path}: the configuration of a container is in its environment")


def _configuration(service: str) -> Any:
    environment = SERVICES[service]["environment"]
    return loader.load(None, environment, {}, hostname="container", read_file=_refuse_files)


def test_prometheus_takes_its_configuration_and_the_rules() -> None:
    printed = promtool("check", "config", ROOT / "prometheus.yml")
    assert "rule files found" in printed


def test_prometheus_scrapes_every_sidecar_of_the_compose_file() -> None:
    job, of_caches = yaml.safe_load((ROOT / "prometheus.yml").read_text())["scrape_configs"]
    assert job["job_name"] == "marketdata-exporter"
    assert job["static_configs"] == [{"targets": [f"{sidecar}:8000" for sidecar in SIDECARS]}]
    (found,) = of_caches["dns_sd_configs"]
    assert set(found["names"]) == {name for name, each in SERVICES.items() if each.get("profiles") == ["caches"]}


def test_the_compose_file_follows_the_compose_specification() -> None:
    if find_spec("compose_spec") is None:
        missing("compose-spec", "`make install` did not install it")
    # The library takes a tag or a digest; Docker takes both, and then only the digest counts.
    text = re.sub(r":v?[\d.]+[\w.-]*@sha256:", "@sha256:", json.dumps(COMPOSE))
    read = import_module("compose_spec").PyCompose.from_json(text)
    assert set(read.to_dict()["services"]) == set(SERVICES)


def test_the_compose_file_has_no_version() -> None:
    assert "version" not in COMPOSE


@each_service
def test_a_service_has_a_pinned_image(service: str) -> None:
    assert _pinned(SERVICES[service]["image"])


@each_service
def test_a_service_is_confined(service: str) -> None:
    assert SERVICES[service]["read_only"] is (service not in WRITES_TO_ITS_ROOT)
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]


@each_service
def test_a_service_has_limits(service: str) -> None:
    assert SERVICES[service].keys() >= {"mem_limit", "cpus", "pids_limit"}


@each_service
def test_a_service_is_reached_from_this_machine_only(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", ()))


def test_no_two_services_want_the_same_port() -> None:
    taken = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(taken) == len(set(taken))


@each_service
def test_a_service_waits_for_what_can_tell_that_it_is_healthy(service: str) -> None:
    for awaited, how in SERVICES[service].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert SERVICES[awaited]["healthcheck"]["test"][0] == "CMD"


@each_service
def test_a_service_can_tell_that_it_is_healthy(service: str) -> None:
    """`docker compose up --wait` fails where one has none, though all is well: docker/compose issue 13522."""
    assert SERVICES[service]["healthcheck"]["test"][0] == "CMD"


@each_service
def test_what_a_service_mounts_is_there(service: str) -> None:
    for volume in SERVICES[service].get("volumes", ()):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (ROOT / source).exists()
        assert source in COMPOSE["volumes"] or volume.endswith(":ro")


def test_grafana_finds_the_dashboards_where_its_provisioning_looks() -> None:
    (provider,) = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/marketdata.yaml").read_text())["providers"]
    path = provider["options"]["path"]
    assert f"./grafana/dashboards:{path}:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "grafana" / "dashboards" / Path(home).relative_to(path)).is_file()


def test_prometheus_finds_the_rules_where_its_configuration_looks() -> None:
    (pattern,) = yaml.safe_load((ROOT / "prometheus.yml").read_text())["rule_files"]
    assert f"./{Path(pattern).parent}:/etc/prometheus/{Path(pattern).parent}:ro" in SERVICES["prometheus"]["volumes"]


def test_the_sidecars_are_configured_by_keys_that_there_are() -> None:
    """They share a group, and each has a name of its own, as exactly-once needs."""
    configurations = [_configuration(sidecar) for sidecar in SIDECARS]
    assert [config.instance for config in configurations] == list(SIDECARS)
    assert len({config.input.group for config in configurations}) == 1
    assert {config.kafka.bootstrap_servers for config in configurations} == {"kafka:9092"}


def test_a_cache_service_has_a_database_of_its_own_and_is_started_with_flags_that_there_are() -> None:
    config = _configuration("cache")
    assert config.kafka.bootstrap_servers == "kafka:9092"
    assert config.redis.url != _configuration(SIDECARS[0]).redis.url
    assert list(mistakes_of_cache(config)) == []
    command = [str(Path(sys.executable).with_name("marketdata-exporter")), *SERVICES["cache"]["command"], "--help"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("sidecar", [*SIDECARS, "cache"])
def test_a_sidecar_asks_itself_whether_it_is_healthy(sidecar: str) -> None:
    assert SERVICES[sidecar]["healthcheck"]["test"] == ["CMD", "marketdata-exporter", "healthcheck"]


def test_the_broker_of_the_container_suite_has_the_version_of_the_compose_file() -> None:
    (version,) = re.findall(
        r"<kafka.version>(.+)</", (ROOT / "tests" / "containers" / "images" / "kafka.xml").read_text()
    )
    assert SERVICES["kafka"]["image"].split("@")[0] == f"apache/kafka:{version}"


def test_the_collectors_are_the_simulator() -> None:
    """The module is there and knows the arguments."""
    command = [*SERVICES["collectors"]["entrypoint"][1:], *SERVICES["collectors"]["command"], "--help"]
    subprocess.run([sys.executable, *command], check=True, capture_output=True, timeout=60)


def test_all_stages_begin_with_the_same_pinned_python() -> None:
    """An environment works only with the interpreter that it was made with."""
    bases = {arguments(stage, "FROM")[0].split()[0] for stage in (WHEEL, BUILDER, IMAGE)}
    assert len(bases) == 1
    assert _pinned(bases.pop())


def test_the_image_installs_only_what_has_the_right_hash() -> None:
    run = [each for stage in (WHEEL, BUILDER, BILL) for each in arguments(stage, "RUN")]
    installed = [each for each in run if "pip" in each and " install " in each]
    assert all("--require-hashes" in run or "--no-index" in run for run in installed)
    assert all("--no-deps" in run for run in installed)


def test_the_bill_of_materials_is_of_what_the_image_gets_and_goes_with_it() -> None:
    assert arguments(BILL, "FROM") == ["builder AS bill"]
    environment, *_ = arguments(IMAGE, "COPY")[0].partition("--from=builder ")[2].split()
    assert any("cyclonedx-py environment" in run and environment in run for run in arguments(BILL, "RUN"))
    for stage in (SBOM, IMAGE):
        assert any(copied.startswith("--from=bill /build/sbom.cdx.json ") for copied in arguments(stage, "COPY"))


def test_the_image_runs_as_nobody_in_particular() -> None:
    (user,) = arguments(IMAGE, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "numbers, which Kubernetes can check"


def test_the_image_is_started_asked_and_stopped_without_a_shell() -> None:
    (healthcheck,) = arguments(IMAGE, "HEALTHCHECK")
    assert json.loads(healthcheck.partition("CMD ")[2]) == ["marketdata-exporter", "healthcheck"]
    assert json.loads(arguments(IMAGE, "ENTRYPOINT")[0]) == ["marketdata-exporter"]
    assert json.loads(arguments(IMAGE, "CMD")[0]) == ["run"]
    assert arguments(IMAGE, "STOPSIGNAL") == ["SIGTERM"]


def test_the_image_says_what_it_is() -> None:
    (labels,) = arguments(IMAGE, "LABEL")
    said = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", labels))
    assert said == {"title", "description", "licenses", "version", "revision", "created"}


def test_nothing_says_where_packages_come_from() -> None:
    """Whoever builds has a registry of their own in pip's configuration."""
    said = " ".join((ROOT / name).read_text() for name in ("Dockerfile", "docker-compose.yml", ".dockerignore"))
    assert not re.search(r"index-url|--find-links|trusted-host|PIP_|https://", said)


def test_the_build_context_holds_what_is_copied_and_little_else() -> None:
    everything, *admitted = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert everything == "*"
    copies = [each for stage in (WHEEL, BUILDER, BILL) for each in arguments(stage, "COPY") if "--from" not in each]
    wanted = {source for copied in copies for source in copied.split()[:-1]}
    assert {line.removeprefix("!") for line in admitted if line.startswith("!")} == wanted
    assert any(fnmatch("exporter/__pycache__", line) for line in admitted)


@pytest.mark.containers
def test_the_builder_makes_an_environment_with_the_command_and_what_it_needs(tmp_path: Path) -> None:
    """The instructions of the Dockerfile, run here: the command works, and pip and what tests need are not shipped."""
    if shutil.which("cargo") is None:
        missing("cargo", "it comes with Rust, which is not installed")
    build(WHEEL, ROOT, tmp_path, search=Path(sys.executable).parent)
    build(BUILDER, ROOT, tmp_path, search=Path(sys.executable).parent)
    built = tmp_path / arguments(IMAGE, "COPY")[0].split()[-1].lstrip("/")
    said = subprocess.run(
        [built / "bin" / "marketdata-exporter", "--version"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.endswith("(native core)\n")
    shipped = {path.name.split("-")[0] for path in (built / "lib").rglob("*.dist-info")}
    assert {"marketdata_exporter", "confluent_kafka", "aiohttp"} <= shipped
    assert not {"pip", "pytest", "mypy", "hypothesis", "jsonschema"} & shipped
