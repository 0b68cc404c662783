"""The example programs in docs/ run as their users run them, and the page of the library names all that is public."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import exporter.instrument
from exporter.instrument.samples import samples
from tests.support.documents import page
from tests.support.process import Part, accepts_connections, free_port
from tests.support.public import offered
from tests.support.pushgateway import Gateway

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
MADE_BY_COLLECTORS = frozenset(("Counter", "Gauge", "Histogram", "Summary", "PeriodicPush"))


def run(name: str, *arguments: str) -> str:
    """What an example prints; it logs nothing, so its names follow the conventions."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


class WebService(Part):
    """The example of a web service."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """See Part."""
        return ["env", f"PORT={self.port}", sys.executable, str(EXAMPLES / "web_service.py")]

    def ready(self) -> bool:
        """See Part."""
        return accepts_connections(self.port)


def test_the_web_service_measures_its_requests(tmp_path: Path) -> None:
    service = WebService(tmp_path).start()
    try:
        for number in (1, 2, 0, 13):
            requests.get(f"{service.url}/users/{number}", timeout=5)
        found = list(samples(requests.get(f"{service.url}/metrics", timeout=5).text))
    finally:
        service.kill()
    counted = {each.labels["status"]: each.value for each in found if each.name == "http_requests_total"}
    assert counted == {"200": 2.0, "404": 1.0, "500": 1.0}
    assert {each.labels["route"] for each in found if each.name == "http_request_duration_seconds_count"} == {
        "/users/{number}"
    }


def test_the_database_pool_measures_its_queries() -> None:
    assert re.fullmatch(r"p99 0\.\d+ s\n", run("database_pool.py"))


def test_the_order_service_counts_returned_failures_as_errors() -> None:
    printed = run("order_service.py")
    assert "order_create_total {'service': 'order'} 3.0\n" in printed
    assert "order_create_errors_total {'service': 'order'} 1.0\n" in printed


@pytest.mark.parametrize("more", [[], ["--thread"]])
def test_the_job_pushes_while_it_runs_and_deletes_its_group(more: list[str]) -> None:
    with Gateway() as gateway:
        run("periodic_push.py", gateway.url, *more)
        methods = [each.method for each in gateway.requests]
        assert methods[-1] == "DELETE"
        assert set(methods[:-1]) == {"PUT"}
        assert b"import_rows_total 2000.0" in gateway.requests[-2].body
        assert {each.path for each in gateway.requests} == {"/metrics/job/nightly_import/instance/worker-1"}


def test_the_dashboard_shows_present_values() -> None:
    assert run("dashboard_data.py").splitlines()[-1] == "0.0 4.0 0.25 s"


def test_the_export_prints_what_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    printed = json.loads(run("json_export.py", str(path)))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [each | {"timestamp": 0} for each in printed] == [each | {"timestamp": 0} for each in lines]


def test_each_example_is_on_the_page() -> None:
    assert {f"examples/{file}" for file in os.listdir(EXAMPLES) if file.endswith(".py")} == set(
        re.findall(r"\((examples/\w+\.py)\)", page("instrument"))
    )


def test_the_page_names_all_that_is_public() -> None:
    rows = re.findall(r"^\| `(.+?)` \| .+ \|$", page("instrument").partition("| name | description |")[2], re.MULTILINE)
    assert rows == list(offered(exporter.instrument, MADE_BY_COLLECTORS))
