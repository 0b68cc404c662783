"""A real Prometheus, its promtool, and the amtool of its Alertmanager."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import requests
import yaml

from tests.support.missing import program
from tests.support.process import Part, accepts_connections, free_port

# For seconds of computing, memory is cheaper than the collector, and one thread than two that wait for each other.
BRIEF = {"GOGC": "800", "GOMAXPROCS": "1"}
SHIPPED = Path(__file__).parents[2] / "prometheus.yml"


class Sample(NamedTuple):
    """One element of a query's result; the labels include `__name__` where the query keeps it."""

    labels: dict[str, str]
    value: float


def scrape_config(
    targets: Sequence[str], rule_files: Sequence[Path] = (), interval: str = "200ms", *, in_pods: bool = False
) -> str:
    """Return the shipped configuration with other `host:port` targets and rules, all done every `interval`.

    `in_pods`: the targets have labels as under Kubernetes.
    """
    job, *_ = scrape_jobs(SHIPPED.read_text())
    return configuration([job | {"static_configs": _static(targets, in_pods)}], rule_files, interval)


def configuration(jobs: Sequence[dict[str, Any]], rule_files: Sequence[Path], interval: str) -> str:
    """Return a configuration with these jobs, which scrape every `interval`, and these rules."""
    content = {
        "global": {"evaluation_interval": interval},
        "rule_files": [str(path) for path in rule_files],
        "scrape_configs": [job | {"scrape_interval": interval} for job in jobs],
    }
    return yaml.safe_dump(content)


def scrape_jobs(text: str) -> list[dict[str, Any]]:
    """Return the scrape configurations in a configuration of Prometheus."""
    jobs: list[dict[str, Any]] = yaml.safe_load(text)["scrape_configs"]
    return jobs


def _static(targets: Sequence[str], in_pods: bool) -> list[dict[str, Any]]:
    if not in_pods:
        return [{"targets": list(targets)}]
    pods = [{"namespace": "trading", "pod": f"sidecar-{number}"} for number in range(len(targets))]
    return [
        {"targets": [target], "labels": pod | {"container": "sidecar"}}
        for target, pod in zip(targets, pods, strict=True)
    ]


class PrometheusServer(Part):
    """A Prometheus with the configuration `config` and further features; its relative paths start at `directory`.

    Its first scrape comes 5 s after the start: so long Prometheus collects targets, and no setting changes that.
    """

    def __init__(self, directory: Path, config: str, *features: str) -> None:
        super().__init__(directory)
        self._features = ",".join(["exemplar-storage", *features])
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._config = config
        self._program = program("prometheus", "prometheus")

    def command(self) -> Sequence[str]:
        """See Part."""
        file = self.directory / "prometheus.yml"
        file.write_text(self._config)
        return [
            self._program,
            f"--config.file={file}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--scrape.discovery-reload-interval=100ms",
            f"--enable-feature={self._features}",
            "--log.level=warn",
        ]

    def ready(self) -> bool:
        """See Part."""
        return accepts_connections(self.port) and requests.get(f"{self.url}/-/ready", timeout=5).ok

    def query(self, promql: str) -> list[Sample]:
        """The instant vector that `promql` gives now, of native histograms their numbers of values.

        AssertionError when it is no valid expression.
        """
        return [Sample(row["metric"], _number(row)) for row in self.get("query", query=promql)["result"]]

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of the HTTP API: `get("rules")`, `get("query_exemplars", query=...)`."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10).json()
        assert answer["status"] == "success", answer["error"]
        return answer["data"]


def _number(row: dict[str, Any]) -> float:
    return float(row["value"][1] if "value" in row else row["histogram"][1]["count"])


def promtool(*arguments: str | Path, input: str | None = None) -> str:
    """What promtool prints; AssertionError with it when promtool finds fault."""
    return _evaluated("promtool", "prometheus", arguments, input)


def amtool(*arguments: str | Path) -> str:
    """What Alertmanager's amtool prints; AssertionError with it when amtool finds fault."""
    return _evaluated("amtool", "prometheus-alertmanager", arguments)


def _evaluated(tool: str, package: str, arguments: Sequence[str | Path], input: str | None = None) -> str:
    command = [program(tool, package), *map(str, arguments)]
    environment = os.environ | BRIEF
    done = subprocess.run(
        command, input=input, text=True, capture_output=True, timeout=60, check=False, env=environment
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, f"{tool} ended with {done.returncode}:\n{printed}"
    return printed
