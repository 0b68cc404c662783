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

import exporter.ingestion
import exporter.instrument
import exporter.performance
import exporter.risk
from exporter.ingestion.events import EVENTS
from exporter.instrument.samples import samples
from tests.support.documents import page
from tests.support.kafka import Broker
from tests.support.process import Part, accepts_connections, free_port
from tests.support.public import offered
from tests.support.pushgateway import Gateway
from tests.support.redis import RedisServer

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
MADE_BY_COLLECTORS = frozenset(("Counter", "Gauge", "Histogram", "Summary", "PeriodicPush"))
MADE_BY_CONSUMERS = frozenset(kind.__name__ for kind in EVENTS.values())
MADE_BY_EVALUATIONS = frozenset(
    name for name in exporter.risk.__all__ if hasattr(getattr(exporter.risk, name), "_fields")
)
MADE_BY_MONITORS = frozenset(("Bottleneck", "MemoryReading", "StageTimer"))


def run(name: str, *arguments: str, **environment: str) -> str:
    """What an example prints; it logs nothing, so its names follow the conventions."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )
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


def test_the_pipeline_measures_its_stages() -> None:
    lines = run("trading_pipeline.py").splitlines()
    stages = ["total_pipeline", "data_processing", "signal_generation", "order_execution"]
    assert [line.partition(":")[0] for line in lines[:4]] == stages
    assert lines[-1] == "206 orders; on /metrics: program_stage_duration_seconds"


def test_each_example_is_on_the_page() -> None:
    assert {f"examples/{file}" for file in os.listdir(EXAMPLES) if file.endswith(".py")} == set(
        re.findall(r"\((examples/\w+\.py)\)", "".join(map(page, ("instrument", "performance", "ingestion", "risk"))))
    )


def public_rows(name: str) -> list[str]:
    """The first column of the table of all that is public."""
    return re.findall(r"^\| `(.+?)` \| .+ \|$", page(name).partition("| name | description |")[2], re.MULTILINE)


def test_the_page_names_all_that_is_public() -> None:
    assert public_rows("instrument") == list(offered(exporter.instrument, MADE_BY_COLLECTORS))


def test_the_page_of_performance_names_all_that_is_public() -> None:
    assert public_rows("performance") == list(offered(exporter.performance, MADE_BY_MONITORS))


def test_the_page_of_ingestion_names_all_that_is_public() -> None:
    assert public_rows("ingestion") == list(offered(exporter.ingestion, MADE_BY_CONSUMERS))


def test_the_page_of_risk_names_all_that_is_public() -> None:
    assert public_rows("risk") == list(offered(exporter.risk, MADE_BY_EVALUATIONS))


def test_a_service_follows_the_rates_of_another(broker: Broker) -> None:
    """Kafka's client logs while a new broker is not ready for producers."""
    environment = {**os.environ, "KAFKA": broker.bootstrap, "PREFIX": "example."}
    command = [sys.executable, str(EXAMPLES / "exchange_rates.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    assert done.stdout.splitlines() == [
        "data_processing_completed: Object missing required field `total_processed`",
        "{'EUR': 1448.2, 'JPY(100)': 889.75, 'USD': 1330.5}",
    ]


# Programs that use `exporter.performance`.


def test_the_cache_of_instruments_asks_once_for_each(redis_server: RedisServer) -> None:
    expected = "1000 reads, {} requests, 333 unknown\n{{'tick': 0.1, 'lot': 0.001}} hit rate "
    assert run("cached_quotes.py").startswith(expected.format(3))
    for number in (3, 0):  # what the first has loaded the second finds in Redis, but what was invalidated since
        printed = run("cached_quotes.py", REDIS_URL=redis_server.url)
        assert printed.startswith(expected.format(number))


def test_a_handler_that_hangs_loses_its_own_events_only() -> None:
    """Its failure is logged."""
    command = [sys.executable, str(EXAMPLES / "event_bus.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "5000 ticks kept, 5000 not stored\n"
    assert re.fullmatch(r"handler store fails, event tick: cancelled after 0\.\d+ s\n", done.stderr)


def test_the_client_repeats_and_then_gives_up_at_once() -> None:
    assert run("resilient_client.py").splitlines() == [
        "accepted buy",
        "sell not sent: orders is open",
        "hold not sent: orders is open",
    ]


def test_the_portfolio_breaks_its_limit_and_is_stopped_once() -> None:
    value_at_risk, stop, crash = run("portfolio_risk.py").splitlines()
    assert re.fullmatch(r"VaR 99 % of a minute: [1-9]\d\d,\d{3}, HHI 0\.5\d", value_at_risk)
    assert stop == "1 limit broken, stop 1: limit:total"
    assert re.fullmatch(r"a crash of 20 % costs 1\d,\d{3},\d{3}", crash)


def test_the_batch_is_scored() -> None:
    assert re.fullmatch(r"480 scores, from 0\.\d+ to 0\.\d+\n", run("batch_inference.py"))
