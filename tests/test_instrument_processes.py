"""Several processes of a program share their metrics by the multiprocess mode of prometheus-client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.samples import Sample

from exporter.instrument.samples import samples

WORKER = """
import asyncio, os, sys
from exporter.instrument import (
    CounterMetric, MetricsCollector, PerformanceMonitored, PrometheusStorage, TimingMetric, record_counter
)
storage = PrometheusStorage()
collector = MetricsCollector(storage, max_series=2)
jobs = collector.counter("jobs_total", "Jobs.", {"queue": "a"})
workers = collector.gauge("workers_running", multiprocess_mode="sum")
waits = collector.histogram("job_wait_seconds", buckets=[0.1, 1.0])
runs = collector.summary("job_run_seconds")
collector.counter("unused_total")

@PerformanceMonitored(TimingMetric("work_seconds"), CounterMetric("work_total"), labels={"stage": "one"})
async def work():
    jobs.increment(2)
    workers.set(1)
    waits.observe(0.5)
    runs.observe(0.5)
    for queue in range(4):
        collector.counter("queued_total").increment(labels={"queue": queue})
    record_counter("records_total", labels={"kind": "x"})

def run():
    asyncio.run(work())
    assert jobs.get_value() == 2, jobs.get_value()  # that of this process
    assert runs.get_statistics()["count"] == 1
"""
FORKS = f"""{WORKER}
children = []
for _ in range(3):
    if (child := os.fork()) == 0:
        run()
        os._exit(0)
    children.append(child)
assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
sys.stdout.write(storage.page().decode())
"""
PROGRAM = f"{WORKER}\nrun()"
PAGE = "from exporter.instrument import PrometheusStorage; print(PrometheusStorage().page().decode(), end='')"


def output(program: str, folder: Path) -> str:
    """What a program prints in multiprocess mode."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=["forked", "started"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """The page of three processes: children of one that made the metrics, or programs of their own."""
    folder = tmp_path_factory.mktemp("values")
    if request.param == "forked":
        return list(samples(output(FORKS, folder)))
    for _ in range(3):
        output(PROGRAM, folder)
    return list(samples(output(PAGE, folder)))


def value(page: list[Sample], name: str, **labels: str) -> float:
    """The only sample of that name with these labels."""
    [found] = [sample.value for sample in page if sample.name == name and sample.labels == labels]
    return found


def test_counts_are_those_of_all_processes(page: list[Sample]) -> None:
    assert value(page, "jobs_total", queue="a") == 6.0
    assert value(page, "records_total", kind="x") == 3.0
    assert value(page, "work_total", stage="one") == 3.0
    assert value(page, "workers_running") == 3.0


def test_histograms_are_added_up(page: list[Sample]) -> None:
    assert value(page, "job_wait_seconds_bucket", le="0.1") == 0.0
    assert value(page, "job_wait_seconds_bucket", le="1.0") == 3.0
    assert value(page, "work_seconds_count", stage="one") == 3.0


def test_summaries_have_count_and_sum_and_no_quantiles_which_cannot_be_added(page: list[Sample]) -> None:
    assert value(page, "job_run_seconds_count") == 3.0
    assert value(page, "job_run_seconds_sum") == 1.5
    assert [sample for sample in page if "quantile" in sample.labels] == []


def test_each_process_has_as_many_label_sets_as_it_may(page: list[Sample]) -> None:
    assert value(page, "queued_total", queue="__other__") == 6.0
    assert value(page, "queued_total", queue="1") == 3.0
    assert value(page, "instrument_beyond_max_series_total", metric="queued_total") == 6.0


def test_what_no_process_used_is_not_shown(page: list[Sample]) -> None:
    assert {sample.name for sample in page if sample.name.startswith("unused")} == set()
