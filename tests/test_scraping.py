"""Pages of sidecars as a real Prometheus scrapes them, by the examples that are shipped, from targets with labels."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from exporter.app import App
from exporter.config import loader
from exporter.feeds.comparison import NoComparison
from exporter.feeds.evaluator import Evaluator
from exporter.kafka.positions import Position, Start
from exporter.model import FeedKey, Partition, Record
from exporter.web.interface import WebMetrics
from exporter.web.server import WebServer
from grafana import generate
from tests.support import documents
from tests.support.alerts import hastened
from tests.support.panels import panel_queries
from tests.support.prometheus import SHIPPED, PrometheusServer, configuration, scrape_jobs
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[1]
NOW_MS = 1_760_031_213_693
SECONDS = 30  # how long a feed is watched: twice what is given to those who have just begun to listen
KOREA, ASIA = (tuple(Partition(f"ticker-data.{region}", number) for number in (0, 1)) for region in ("korea", "asia"))
SPREAD, HEARD = FeedKey("korea", "upbit", "ticker"), FeedKey("korea", "bithumb", "ticker")
SILENT = (FeedKey("asia", "upbit", "ticker"), FeedKey("asia", "okx", "ticker"))
NEVER_SEEN = FeedKey("europe", "kraken", "ticker")
EXPECTED = [str(feed) for feed in (HEARD, SPREAD, NEVER_SEEN)]
# What the pods have in Kubernetes, and labels that have the names of the exporter's.
PODS: list[dict[str, str]] = [
    {
        "cluster": "eu-1",
        "namespace": "trading",
        "pod": f"sidecar-{number}",
        "container": "sidecar",
        "region": "eu-west-1",
        "exchange": "none",
        "state": "prod",
    }
    for number in (0, 1)
]
META = {
    "namespace": "__meta_kubernetes_namespace",
    "pod": "__meta_kubernetes_pod_name",
    "container": "__meta_kubernetes_pod_container_name",
}
KEPT = {
    "__meta_kubernetes_pod_label_app_kubernetes_io_name": "marketdata-exporter",
    "__meta_kubernetes_pod_container_port_name": "http",
    "__meta_kubernetes_pod_phase": "Running",
}


def replica(heard: Mapping[FeedKey, Partition], silent: Mapping[FeedKey, Partition]) -> App:
    """Return a sidecar that has read from these partitions: some feeds every second, of others one batch."""
    feeds = {"expected": EXPECTED, "thresholds": [{"silent": "5s"}]}
    flags = {f"feeds.{key}": value for key, value in feeds.items()}
    app = App(loader.load(None, {}, flags, hostname="box", read_file=str))
    app.loop.turned_at = -math.inf  # no loop runs: neither is ready
    pipeline, rounds = app.loop.pipeline, Evaluator(NoComparison())
    for partition in {*heard.values(), *silent.values()}:
        pipeline.assign(partition, Start(Position(0, 0, NOW_MS), 0, 0))
    for second in range(SECONDS):
        now_ms = NOW_MS + 1000 * second
        for number, (feed, partition) in enumerate((heard if second else {**heard, **silent}).items()):
            records = [Record(partition, second * 10 + number, now_ms, _batch(feed, now_ms))]
            pipeline.analyze(records, pipeline.decode(records), now_ms)
        rounds.evaluate(list(pipeline.table.feeds.values()), {}, now_ms, is_reachable=True, is_sole_reader=False)
    return app


def _batch(feed: FeedKey, now_ms: int) -> bytes:
    rows = [{"target_currency": "KRW-BTC", "timestamp": now_ms, "last": now_ms / 1000}]
    return json.dumps({**feed._asdict(), "timestamp_ms": now_ms, "data": rows}).encode()


@contextmanager
def served(app: App) -> Iterator[str]:
    """Serve the pages of a sidecar that has never met Kafka, and yield their address."""
    web = WebServer(app.queries, "127.0.0.1", 0, "/metrics", metrics=WebMetrics(CollectorRegistry()))
    port = web.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        web.stop()
        app.loop.publisher.close(1.0)


def jobs(targets: list[str]) -> list[dict[str, Any]]:
    """Return the shipped ways to scrape the targets, each as a job of its own, and one that does not honor labels."""
    shipped, _ = scrape_jobs(SHIPPED.read_text())
    (kubernetes,) = scrape_jobs(documents.block("yaml", "kubernetes_sd_configs"))
    del kubernetes["kubernetes_sd_configs"]
    labelled = [{"targets": [target], "labels": labels} for target, labels in zip(targets, PODS, strict=True)]
    found = [{"targets": [target], "labels": _found(labels)} for target, labels in zip(targets, PODS, strict=True)]
    relabelled = yaml.safe_load(documents.block("yaml", "metric_relabel_configs"))
    return [
        shipped | {"job_name": "static", "static_configs": labelled},
        kubernetes | {"job_name": "kubernetes", "static_configs": found},
        shipped | {"job_name": "relabelled", "static_configs": labelled, "honor_labels": False} | relabelled,
        shipped | {"job_name": "exported", "static_configs": labelled, "honor_labels": False},
    ]


def _found(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a target as discovery gives them; what the example does not know stays, as by a labelmap."""
    rest = {name: value for name, value in labels.items() if name not in META}
    return rest | {META[name]: labels[name] for name in META} | KEPT


HONORED = pytest.mark.parametrize("job", ["static", "kubernetes", "relabelled"])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """Start a Prometheus with the rules, in which minutes are seconds, and two replicas that share a feed.

    One hears it, the other does not; all feeds of another region are silent.
    """
    directory = tmp_path_factory.mktemp("scraping")
    one = replica(heard={SPREAD: KOREA[0], HEARD: KOREA[0]}, silent={SILENT[0]: ASIA[0]})
    two = replica(heard={}, silent={SPREAD: KOREA[1], SILENT[1]: ASIA[1]})
    with ExitStack() as parts:
        targets = [parts.enter_context(served(app)) for app in (one, two)]
        content = configuration(jobs(targets), hastened(directory / "rules", 60), "500ms")
        server = PrometheusServer(directory / "prometheus", content).start()
        parts.callback(server.kill)
        eventually(lambda: server.query("count(up == 1) == 8"), 30, "not all is scraped")
        yield server


def alerts(prometheus: PrometheusServer, job: str, since: str = "") -> set[tuple[str, str]]:
    """Return the names of the alerts of a job that fire, or have within `since`, each with its region and pod.

    Without those about the error budget, which burns sooner or later while a region is silent.
    """
    series = f'ALERTS{{alertstate="firing", job="{job}", alertname!~".*Budget.*"}}'
    found = prometheus.query(f"last_over_time({series}[{since}])" if since else series)
    about = [" ".join(each.labels[name] for name in ("region", "pod") if name in each.labels) for each in found]
    return {(each.labels["alertname"], said) for each, said in zip(found, about, strict=True)}


@HONORED
def test_alerts_are_about_the_exporters_regions_whatever_the_targets(prometheus: PrometheusServer, job: str) -> None:
    """The silent region is, not everything, nor a feed that one of two replicas hears; nor is one missing by that."""
    wanted = {
        ("MarketdataTopicSilent", "asia"),
        ("MarketdataFeedMissing", "europe"),
        ("MarketdataExporterNotReady", "eu-west-1 sidecar-0"),
        ("MarketdataExporterNotReady", "eu-west-1 sidecar-1"),
    }

    def are() -> bool:
        assert alerts(prometheus, job) == wanted
        return True

    eventually(are, 40, "not these alerts")
    assert alerts(prometheus, job, since="10m") == wanted


@HONORED
def test_recorded_series_have_the_labels_of_their_level(prometheus: PrometheusServer, job: str) -> None:
    """One series for each feed, however many replicas it has."""
    recorded = f'feed:marketdata_feed_state:min{{job="{job}"}}'
    eventually(lambda: len(prometheus.query(recorded)) == 4, 40, "not one for each feed")
    for sample in prometheus.query(recorded):
        assert sample.labels.keys() == {"__name__", *generate.DEPLOYMENT, *FeedKey._fields}


def test_labels_that_prometheus_renamed_are_told(prometheus: PrometheusServer) -> None:
    """Where labels are not honored the alerts about feeds are wrong, and one says why."""

    def names() -> set[str]:
        return {name for name, _ in alerts(prometheus, "exported")}

    eventually(lambda: "MarketdataLabelsExported" in names(), 40, "not told")
    assert "MarketdataTopicSilent" not in names()


def test_panels_show_the_chosen_deployment_and_no_other(prometheus: PrometheusServer) -> None:
    """All four jobs have the same feeds and as many sidecars."""
    overview = json.loads((generate.DASHBOARDS / "overview.json").read_text())
    chosen = {"job": "static", "cluster": "eu-1", "namespace": "trading"}
    shown = {query.panel: prometheus.query(query.expr) for query in panel_queries(overview, "5s", chosen)}
    assert [sample.value for sample in shown["Sidecars not ready"]] == [2]
    assert {sample.labels["pod"] for sample in shown["Ready"]} == {"sidecar-0", "sidecar-1"}
    silent = [sample.labels for sample in shown["States"] if sample.value == list(generate.STATES).index("silent")]
    assert {FeedKey(**labels) for labels in silent} == set(SILENT)
    assert {sample.labels["state"]: sample.value for sample in shown["Feeds by state"]}["silent"] == len(SILENT)


def test_every_example_of_a_scrape_honors_labels() -> None:
    examples = [*documents.blocks("yaml"), *(path.read_text() for path in (ROOT / "kubernetes").glob("*.yml"))]
    contents = [each for text in examples for each in yaml.safe_load_all(text)]
    jobs = [job for content in contents for job in content.get("scrape_configs", ())]
    endpoints = [each for content in contents for each in content.get("spec", {}).get("podMetricsEndpoints", ())]
    assert {job["honor_labels"] for job in [*jobs, *scrape_jobs(SHIPPED.read_text())]} == {True}
    assert {endpoint["honorLabels"] for endpoint in endpoints} == {True}
