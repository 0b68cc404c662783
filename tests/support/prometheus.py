"""A real Prometheus, its promtool, and the amtool of its Alertmanager."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import requests

from tests.support.missing import program
from tests.support.process import Part, accepts_connections, free_port

CONFIG = """
global: {{scrape_interval: {interval}, evaluation_interval: {interval}}}
rule_files: {rule_files}
scrape_configs:
  - job_name: marketdata-exporter
    static_configs: [{{targets: {targets}}}]
"""


class Sample(NamedTuple):
    """One element of a query's result; the labels include `__name__` where the query keeps it."""

    labels: dict[str, str]
    value: float


def scrape_config(targets: Sequence[str], rule_files: Sequence[Path] = (), interval: str = "200ms") -> str:
    """A configuration that scrapes `host:port` targets and evaluates rules every `interval`, as the job they expect."""
    files = [str(path) for path in rule_files]
    return CONFIG.format(targets=list(targets), rule_files=files, interval=interval)


class PrometheusServer(Part):
    """A Prometheus with the configuration `config`; its relative paths start at `directory`.

    Its first scrape comes 5 s after the start: so long Prometheus collects targets, and no setting changes that.
    """

    def __init__(self, directory: Path, config: str) -> None:
        super().__init__(directory)
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
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ]

    def ready(self) -> bool:
        """See Part."""
        return accepts_connections(self.port) and requests.get(f"{self.url}/-/ready", timeout=5).ok

    def query(self, promql: str) -> list[Sample]:
        """The instant vector that `promql` gives now; AssertionError when it is no valid expression."""
        return [Sample(row["metric"], float(row["value"][1])) for row in self.get("query", query=promql)["result"]]

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of the HTTP API: `get("rules")`, `get("query_exemplars", query=...)`."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10).json()
        assert answer["status"] == "success", answer["error"]
        return answer["data"]


def promtool(*arguments: str | Path, input: str | None = None) -> str:
    """What promtool prints; AssertionError with it when promtool finds fault."""
    return _judged("promtool", "prometheus", arguments, input)


def amtool(*arguments: str | Path) -> str:
    """What Alertmanager's amtool prints; AssertionError with it when amtool finds fault."""
    return _judged("amtool", "prometheus-alertmanager", arguments)


def _judged(tool: str, package: str, arguments: Sequence[str | Path], input: str | None = None) -> str:
    command = [program(tool, package), *map(str, arguments)]
    done = subprocess.run(command, input=input, text=True, capture_output=True, timeout=60, check=False)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, f"{tool} ended with {done.returncode}:\n{printed}"
    return printed
