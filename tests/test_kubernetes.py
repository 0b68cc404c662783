"""The Kubernetes manifests are valid, confine their pods, and are configured by keys and paths that exist."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no annotations
import pytest
import yaml

from exporter.config import loader
from exporter.config.schema import Config
from exporter.preflight import mistakes_of_cache
from tests.support.dockerfile import arguments, stages
from tests.support.missing import missing, program

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "kubernetes"
NODE = ROOT / ".cache" / "node"
*_, IMAGE = stages(ROOT / "Dockerfile")
# The oldest with native sidecars, and the newest that is known.
VERSIONS = ("1.33", kubernetes_validate.latest_version())
OPERATOR = "monitoring.coreos.com"
# Prints what is wrong with the resource of the operator that comes as JSON.
VALIDATE = """
import { readFileSync } from "node:fs";
const resource = JSON.parse(readFileSync(0));
const { [resource.kind]: Model } = await import("@kubernetes-models/prometheus-operator/" + resource.apiVersion);
new Model(resource).validate();
"""


def _documents(file: str) -> list[Any]:
    return list(yaml.safe_load_all((FOLDER / file).read_text()))


def _manifests() -> Iterator[tuple[str, Any]]:
    for path in sorted(FOLDER.glob("*.yml")):
        for document in _documents(path.name):
            yield f"{path.stem}-{document['kind']}", document


MANIFESTS = dict(_manifests())
CORE = [name for name, each in MANIFESTS.items() if OPERATOR not in each["apiVersion"]]
SHARED = {each["kind"]: each for each in _documents("marketdata-exporter.yml")}
COLLECTOR = {each["kind"]: each for each in _documents("collector.yml")}
CACHE = {each["kind"]: each for each in _documents("cache.yml")}
PODS = {
    "cache": CACHE["Deployment"]["spec"]["template"]["spec"],
    "shared": SHARED["StatefulSet"]["spec"]["template"]["spec"],
    "collector": COLLECTOR["Deployment"]["spec"]["template"]["spec"],
}
SIDECARS = {"shared": PODS["shared"]["containers"][0], "collector": PODS["collector"]["initContainers"][0]}
CONTAINERS = {**SIDECARS, "cache": PODS["cache"]["containers"][0]}
CONFIGURATIONS = {
    name: each["ConfigMap"]["data"]["sidecar.yml"] for name, each in (("shared", SHARED), ("collector", COLLECTOR))
}

each_pod = pytest.mark.parametrize("name", PODS)


def _config(text: str) -> Config:
    return loader.load(text, {}, {}, hostname="pod-0", read_file=lambda _: "secret")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CORE)
def test_a_manifest_follows_the_schema_of_kubernetes(name: str, version: str) -> None:
    """Strictly: a field that there is not is an error."""
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def _operator_error(resource: object) -> str:
    """Return what the schemas of the Prometheus Operator say against a resource."""
    if not (NODE / "node_modules").is_dir():
        missing("the schemas of the Prometheus Operator", "`make parts` did not install them from npm")
    node = [program("node", "nodejs"), "--input-type=module", "--eval", VALIDATE]
    text = json.dumps(resource)
    done = subprocess.run(node, input=text, cwd=NODE, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("name", ["podmonitor-PodMonitor", "cache-PodMonitor"])
def test_a_pod_monitor_follows_the_schema_of_the_operator(name: str) -> None:
    assert _operator_error(MANIFESTS[name]) == ""


def test_a_pod_monitor_with_a_mistake_does_not() -> None:
    monitor = yaml.safe_load((FOLDER / "podmonitor.yml").read_text())
    monitor["spec"]["podMetricsEndpoints"][0]["interval"] = "often"
    assert "data/spec/podMetricsEndpoints/0/interval must match pattern" in _operator_error(monitor)


def test_a_pod_monitor_selects_the_pods_of_both_deployments_and_keeps_their_labels() -> None:
    spec = MANIFESTS["podmonitor-PodMonitor"]["spec"]
    selected = spec["selector"]["matchLabels"].items()
    for workload in (SHARED["StatefulSet"], COLLECTOR["Deployment"]):
        assert selected <= workload["spec"]["template"]["metadata"]["labels"].items()
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True
    assert all([port["name"] for port in sidecar["ports"]] == [endpoint["port"]] for sidecar in SIDECARS.values())


@pytest.mark.parametrize("workload", [SHARED["StatefulSet"], COLLECTOR["Deployment"], CACHE["Deployment"]])
def test_a_workload_selects_its_own_pods(workload: Any) -> None:
    spec = workload["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


@each_pod
def test_a_pod_is_confined_as_a_service_is(name: str) -> None:
    pod, sidecar = PODS[name], CONTAINERS[name]
    security = sidecar["securityContext"]
    assert (security["readOnlyRootFilesystem"], security["capabilities"]) == (True, {"drop": ["ALL"]})
    assert security["allowPrivilegeEscalation"] is False
    assert sidecar["resources"]["limits"].keys() == {"cpu", "memory"}
    assert pod["automountServiceAccountToken"] is False
    (user,) = arguments(IMAGE, "USER")
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == user


@each_pod
def test_a_pod_is_not_configured_by_the_names_of_services(name: str) -> None:
    """Kubernetes would set MARKETDATA_EXPORTER_SERVICE_HOST, which is no key."""
    assert PODS[name]["enableServiceLinks"] is False


@pytest.mark.parametrize("name", SIDECARS)
def test_a_pod_is_configured_by_keys_that_there_are(name: str) -> None:
    text = CONFIGURATIONS[name]
    assert _config(text).input.limits.feeds == 2000
    (mounted, *_) = SIDECARS[name]["volumeMounts"]
    assert SIDECARS[name]["args"] == ["run", f"--config.file={mounted['mountPath']}/sidecar.yml"]


def test_a_cache_service_is_configured_by_keys_that_there_are() -> None:
    config = _config(CACHE["ConfigMap"]["data"]["cache.yml"].replace("# ", ""))
    assert list(mistakes_of_cache(config)) == []
    assert config.redis.password == "secret"
    (mounted, *_) = CONTAINERS["cache"]["volumeMounts"]
    assert CONTAINERS["cache"]["args"][:2] == ["cache", f"--config.file={mounted['mountPath']}/cache.yml"]


def test_cache_services_are_scraped_and_reach_what_is_configured() -> None:
    (port,) = CONTAINERS["cache"]["ports"]
    assert [each["port"] for each in CACHE["PodMonitor"]["spec"]["podMetricsEndpoints"]] == [port["name"]]
    selected = CACHE["PodMonitor"]["spec"]["selector"]
    assert selected == CACHE["Deployment"]["spec"]["selector"] == CACHE["NetworkPolicy"]["spec"]["podSelector"]
    allowed = {each["port"] for rule in CACHE["NetworkPolicy"]["spec"]["egress"] for each in rule["ports"]}
    assert allowed == {53, 9092, 6379}


def test_the_password_that_a_pod_may_have_is_read_from_its_secret() -> None:
    properties = _config(CONFIGURATIONS["shared"].replace("# ", "")).kafka.properties
    assert properties["sasl.password"] == "secret"


def test_pods_are_asked_on_paths_that_there_are() -> None:
    probes = {
        name: {probe: value["httpGet"]["path"] for probe, value in sidecar.items() if probe.endswith("Probe")}
        for name, sidecar in CONTAINERS.items()
    }
    alive = {"livenessProbe": "/-/healthy", "startupProbe": "/-/healthy"}
    asked = {**alive, "readinessProbe": "/-/ready"}
    assert probes == {"shared": asked, "cache": asked, "collector": alive}


def test_the_sidecar_of_a_collector_starts_before_it_and_has_its_feed_and_instance_for_itself() -> None:
    assert SIDECARS["collector"]["restartPolicy"] == "Always"
    assert COLLECTOR["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    config = _config(CONFIGURATIONS["collector"])
    assert config.instance == COLLECTOR["Deployment"]["metadata"]["name"]
    assert config.feeds.include == ("korea:upbit:ticker",)


def test_the_network_policy_lets_requests_in_at_the_port_and_connections_out_to_what_is_configured() -> None:
    policy = SHARED["NetworkPolicy"]["spec"]
    assert policy["podSelector"] == SHARED["StatefulSet"]["spec"]["selector"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["http"]
    allowed = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    broker = _config(CONFIGURATIONS["shared"]).kafka.bootstrap_servers
    assert int(broker.rpartition(":")[2]) in allowed
    assert 53 in allowed
