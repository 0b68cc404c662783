"""Native histograms as a real Prometheus scrapes them, beside the classic buckets of the same values."""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
import requests

from exporter.analyzers.latency import LATENCY_BOUNDS_MS
from exporter.app import App
from exporter.config import loader
from exporter.feeds.symbols import SymbolCounts
from exporter.kafka.positions import Position, Start
from exporter.model import EventType, FeedKey, Partition, Record
from tests.support.metrics_proto import read_page
from tests.support.panels import UNLABELLED, panel_queries
from tests.support.prometheus import SHIPPED, PrometheusServer, configuration, scrape_jobs
from tests.support.waiting import eventually
from tests.test_exposition import PROTOBUF, PROTOBUF_FIRST
from tests.test_scraping import served

MODES = ("classic", "native", "both", "off")
DASHBOARDS = sorted((Path(__file__).parents[1] / "grafana" / "dashboards").glob("*.json"))
NOW_MS = 1_760_031_213_693
FEED, PARTITION = FeedKey("korea", "upbit", "orderbook"), Partition("orderbook-data.korea", 0)
BATCHES = 300
LATENCY = "marketdata_end_to_end_latency_seconds"


class Run(NamedTuple):
    """A Prometheus with a job for each kind of histograms, and the latencies in milliseconds that all of them have."""

    prometheus: PrometheusServer
    latencies: list[float]

    def value(self, promql: str) -> float:
        """The value of a query with one result."""
        (sample,) = self.prometheus.query(promql)
        return sample.value


def sidecar(mode: str) -> App:
    """A sidecar that has read a first batch, with native histograms or without."""
    app = App(loader.load(None, {}, {"metrics.histograms": mode}, hostname="box", read_file=str))
    app.loop.pipeline.assign(PARTITION, Start(Position(0, 0, NOW_MS), 0, 0))
    read(app, 0, 50)
    for feed in app.loop.pipeline.table.feeds.values():
        feed.health.symbols = SymbolCounts(1, 0, 0, 0, 1)  # as after five minutes
        feed.touch()
    return app


def read(app: App, number: int, latency_ms: int) -> None:
    """Let a sidecar read one batch of an order book, so many milliseconds after its newest message."""
    now_ms = NOW_MS + number * 1000
    row = {
        "target_currency": "KRW-BTC",
        "timestamp": now_ms - latency_ms,
        "asks": [[101 + number, 1]],
        "bids": [[100, 1]],
    }
    value = json.dumps(
        {**FEED._asdict(), "batch_size": 2, "timestamp_ms": now_ms - latency_ms // 2, "data": [row]}
    ).encode()
    records = [Record(PARTITION, number, now_ms - latency_ms // 4, value)]
    app.loop.pipeline.analyze(records, app.loop.pipeline.decode(records), now_ms)
    for histogram in (*app.loop.stages.values(), app.loop.publisher.counts.delivery[EventType.BATCH]):
        histogram.add(latency_ms / 1000)


def job(mode: str, target: str) -> dict[str, object]:
    shipped, _ = scrape_jobs(SHIPPED.read_text())
    return shipped | {"job_name": mode, "static_configs": [{"targets": [target]}]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Let Prometheus see each sidecar before and after it has read: a rate needs two samples."""
    random, directory = Random(7), tmp_path_factory.mktemp("native")
    latencies = [random.lognormvariate(5, 1) for _ in range(BATCHES)]
    with ExitStack() as parts:
        apps = {mode: sidecar(mode) for mode in MODES}
        jobs = [job(mode, parts.enter_context(served(app))) for mode, app in apps.items()]
        server = PrometheusServer(directory, configuration(jobs, [], "500ms"), "native-histograms").start()
        parts.callback(server.kill)
        eventually(lambda: server.query("count(marketdata_batches_total == 1) == 4"), 30, "not all is scraped")
        for number, latency_ms in enumerate(latencies, start=1):
            for app in apps.values():
                read(app, number, int(latency_ms))
        seen = f"count(marketdata_batches_total == {BATCHES + 1}) == 4"
        eventually(lambda: server.query(seen), 30, "the batches are not scraped")
        yield Run(server, latencies)


def quantile(q: float, mode: str) -> str:
    """The query of a quantile, as dashboards have it."""
    asked = f'(rate({LATENCY}_bucket{{job="{mode}"}}[5m]))'
    native = asked.replace("_bucket", "")
    return f"histogram_quantile({q}, sum {native}) or histogram_quantile({q}, sum by (le) {asked})"


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 0.99])
def test_quantiles_agree_within_the_width_of_a_bucket(run: Run, q: float) -> None:
    """That of a native bucket is 9 %; both kinds are in the classic bucket of the exact quantile."""
    exact = sorted(map(int, run.latencies))[int(q * len(run.latencies))] / 1000
    place = bisect_left(LATENCY_BOUNDS_MS, exact * 1000)
    low, high = [bound / 1000 for bound in (0, *LATENCY_BOUNDS_MS)][place : place + 2]
    assert low <= run.value(quantile(q, "classic")) <= high
    for mode in ("native", "both"):
        assert run.value(quantile(q, mode)) == pytest.approx(exact, rel=2 ** (1 / 8) - 1)


@pytest.mark.parametrize("mode", ["native", "classic", "off"])
def test_the_number_of_series_is_that_which_prometheus_scrapes(run: Run, mode: str) -> None:
    scraped = run.value(f'scrape_samples_scraped{{job="{mode}"}}')
    assert scraped == run.value(f'marketdata_exporter_series{{job="{mode}"}}')


def test_a_feed_with_native_histograms_has_at_most_70_series(run: Run) -> None:
    """One with order books, which has the most."""
    series = {mode: run.value(f'count({{region="korea", job="{mode}"}})') for mode in MODES}
    assert series == {"classic": 213, "native": 70, "both": 70, "off": 60}


def labels_shown(run: Run, expr: str) -> set[frozenset[tuple[str, str]]]:
    """The labels of the result, without those by which the jobs differ."""
    found = [
        {k: v for k, v in each.labels.items() if k not in ("le", "job", "instance")}
        for each in run.prometheus.query(expr)
    ]
    return {frozenset(labels.items()) for labels in found}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: str(path.stem))
def test_panels_show_either_kind(run: Run, path: Path) -> None:
    """The same series with native histograms as with classic ones, and with both; without any, those of others."""
    dashboard = json.loads(path.read_text())
    asked = {mode: [*panel_queries(dashboard, "5m", {**UNLABELLED, "job": mode})] for mode in MODES}
    for classic, native, both, off in zip(*asked.values(), strict=True):
        shown = labels_shown(run, classic.expr)
        assert labels_shown(run, native.expr) == labels_shown(run, both.expr) == shown, classic.panel
        is_of_histograms = "_bucket{" in off.expr or "histogram_sum" in off.expr
        assert labels_shown(run, off.expr) == (set() if is_of_histograms else shown), off.panel


@pytest.mark.parametrize("mode", ["classic", "native"])
def test_the_place_of_an_anomaly_is_an_exemplar(run: Run, mode: str) -> None:
    query = f'marketdata_anomalies_total{{job="{mode}", kind="size_mismatch"}}'
    now = time.time()
    found = run.prometheus.get("query_exemplars", query=query, start=str(now - 600), end=str(now))
    places = [exemplar["labels"] for each in found for exemplar in each["exemplars"]]
    assert {"topic": PARTITION.topic, "partition": "0", "offset": str(BATCHES)} in places


def scraped(run: Run, mode: str, accept: str, *names: str) -> requests.Response:
    """A page of a sidecar with this kind of histograms."""
    (target,) = [each for each in run.prometheus.get("targets")["activeTargets"] if each["labels"]["job"] == mode]
    return requests.get(target["scrapeUrl"], params={"name[]": names}, headers={"Accept": accept}, timeout=10)


def test_a_page_in_protobuf_has_the_families_that_are_selected(run: Run) -> None:
    answer = scraped(run, "native", PROTOBUF_FIRST, LATENCY, "marketdata_batches_total")
    assert answer.headers["Content-Type"].startswith(PROTOBUF)
    assert [family.name for family in read_page(answer.content)] == ["marketdata_batches_total", LATENCY]


def test_a_client_of_text_gets_counts_and_sums_of_native_histograms(run: Run) -> None:
    page = scraped(run, "native", "text/plain").text
    lines = [line for line in page.splitlines() if line.startswith(LATENCY)]
    assert [line.rpartition(" ")[2] for line in lines[:2]] == [str(BATCHES + 1)] * 2
    assert lines[0].startswith(f"{LATENCY}_bucket")
    assert 'le="+Inf"' in lines[0]
    assert lines[2].startswith(f"{LATENCY}_sum")
