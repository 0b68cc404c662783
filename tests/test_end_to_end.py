"""The whole main job on real input: captured exchange traffic through a real broker, `run`, Prometheus and back."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import push_to_gateway
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.model import FeedKey
from tests.support.captures import capture, captures, each_capture
from tests.support.cluster import Record
from tests.support.events import read_event, read_framed
from tests.support.families import exported, of_caches
from tests.support.kafka import Broker
from tests.support.panels import panel_queries
from tests.support.programs import measured
from tests.support.prometheus import PrometheusServer, promtool, scrape_config
from tests.support.promql import families_in
from tests.support.recordings import Counted
from tests.support.redis import RedisServer
from tests.support.registry import RegistryServer
from tests.support.sidecar import Deployment, Scrape, Sidecar
from tests.support.streams import Follower, following, rows
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[1]
QUERIES = [
    pytest.param(query.expr, id=f"{path.stem}-{query.panel}-{number}")
    for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
    for number, query in enumerate(panel_queries(json.loads(path.read_text()), "5m"))
]
# These are known when a feed was watched for five minutes (too long to wait for), or when three feeds have one pair,
# which no three captured ones have.
ABSENT = {
    "marketdata_feed_symbols",
    "marketdata_feed_symbols_expected",
    "marketdata_feed_price_divergence_ratio",
    "marketdata_feed_price_divergence_max_ratio",
    "marketdata_partition_last_reset_timestamp_seconds",  # nothing was deleted
    # There is no web configuration file.
    "marketdata_exporter_http_tls_handshake_failures_total",
    "marketdata_exporter_web_config_last_reload_successful",
    "marketdata_exporter_web_config_last_reload_success_timestamp_seconds",
    *of_caches(),  # there is no cache service, see tests/test_ingestion_cache.py
    # Neither is enabled, see tests/test_ingestion_sidecar.py and tests/test_risk_dashboard.py.
    *(name for name in exported() if name.startswith(("marketdata_ingestion_", "marketdata_risk_"))),
}
# A symbol of the traffic that is made up.
SHOWN = "S0-USDT"
GARBAGE = [b"not JSON", b"{}", b""]
# A feed of its own, so that it is in nobody's truth.
SUSPICIOUS = json.dumps(
    {
        "region": "x",
        "exchange": "y",
        "request_type": "z",
        "timestamp_ms": 1_760_031_213_693,
        "batch_size": 2,
        "data": [],
    }
).encode()
READ_SECONDS = 30.0

pytestmark = pytest.mark.captures


def played() -> list[bytes]:
    """Every captured batch, as a collector writes it."""
    return [json.dumps(record.value).encode() for one in captures() for record in one.records]


def truth() -> dict[str, Counted]:
    """What an exact reader counts of every captured feed."""
    return {feed: counted for one in captures() for feed, counted in one.truth.items()}


def told(scrape: Scrape, feed: str) -> dict[str, float]:
    """What a scrape says of one feed."""
    labels = FeedKey(*feed.split(":"))._asdict()
    names = {
        "batches": "marketdata_batches_total",
        "messages": "marketdata_messages_total",
        "sizes": "marketdata_batch_size_count",
        "unique_sum": "marketdata_batch_unique_symbols_sum",
        "efficiency_sum": "marketdata_batch_cache_efficiency_ratio_sum",
    }
    return {field: scrape.total(name, **labels) for field, name in names.items()}


def told_by_symbol(scrape: Scrape, feed: str) -> float:
    """What a scrape says of the messages of one feed, by its symbols."""
    return scrape.total("marketdata_symbol_messages_total", **FeedKey(*feed.split(":"))._asdict())


def expected(counted: Counted) -> dict[str, Any]:
    """What a scrape has to say of one feed."""
    return {
        "batches": counted.batches,
        "messages": counted.messages,
        "sizes": counted.batches,
        "unique_sum": counted.unique_sum,
        "efficiency_sum": pytest.approx(counted.efficiency_sum, abs=1e-8),
    }


class Run(NamedTuple):
    """A sidecar that has read everything, and who looks at it."""

    deployment: Deployment
    sidecar: Sidecar
    registry: RegistryServer
    prometheus: PrometheusServer
    page: Follower


@pytest.fixture(scope="module")
def run(broker: Broker, _redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Play all captures, and some garbage, to a sidecar with everything switched on."""
    directory = tmp_path_factory.mktemp("end-to-end")
    with ExitStack() as parts:
        registry = parts.enter_context(RegistryServer())
        deployment = parts.enter_context(Deployment(broker, directory))
        deployment.create_outputs()
        sidecar = deployment.sidecar(
            output__encoding="avro",
            output__schema_registry=registry.url,
            output__summary_interval="1s",
            redis__url=_redis.url,
            feeds__expected=sorted(truth()),
            feeds__symbols={"shown": [SHOWN], "stalest": 3},
            feeds__pairs=[r"(?P<base>\w+)-(?P<quote>\w+)"],
            feeds__find_duplicates=True,
            web__push__enabled=True,
        ).start()
        targets = scrape_config([f"127.0.0.1:{sidecar.port}"], sorted((ROOT / "grafana" / "rules").glob("*.yml")))
        prometheus = PrometheusServer(directory / "prometheus", targets).start()
        parts.callback(prometheus.kill)
        page = parts.enter_context(following(sidecar.port))
        _in_two_parts(deployment, sidecar, prometheus)
        yield Run(deployment, sidecar, registry, prometheus, page)


def _in_two_parts(deployment: Deployment, sidecar: Sidecar, prometheus: PrometheusServer) -> None:
    """Let Prometheus see counters before and after: a rate needs two samples that differ."""
    push_to_gateway(f"127.0.0.1:{sidecar.port}", "trading", measured().registry)
    values = [*GARBAGE, SUSPICIOUS, *played()]
    deployment.cluster.produce(deployment.topic, values[: len(values) // 2])
    eventually(lambda: prometheus.query("sum(marketdata_events_total) > 0"), READ_SECONDS, "no event was scraped")
    deployment.cluster.produce(deployment.topic, values[len(values) // 2 :])
    batches = sum(counted.batches for counted in truth().values()) + 1
    counted = f"sum(marketdata_events_total{{event_type='batch_collected'}}) == {batches}"
    eventually(lambda: prometheus.query(counted), READ_SECONDS, f"{sidecar.batches()} of {batches} batches")


@each_capture
def test_metrics_say_of_each_feed_what_an_exact_reader_counts(run: Run, name: str) -> None:
    """Batches, messages, unique symbols and efficiencies come out exactly."""
    exact, scrape = capture(name).truth, run.sidecar.scrape()
    assert {feed: told(scrape, feed) for feed in exact} == {feed: expected(counted) for feed, counted in exact.items()}


@each_capture
def test_messages_by_symbol_add_up_to_those_of_the_feed(run: Run, name: str) -> None:
    """What is shown by name and what is not, of each feed."""
    right = {feed: counted.messages for feed, counted in capture(name).truth.items()}

    def is_complete() -> bool:
        scrape = run.sidecar.scrape()
        return {feed: told_by_symbol(scrape, feed) for feed in right} == right

    eventually(is_complete, READ_SECONDS, "messages are missing")


def test_a_symbol_that_is_asked_for_is_shown_by_name(run: Run) -> None:
    """Its messages, and when it was last seen."""
    scrape = run.sidecar.scrape()
    assert scrape.total("marketdata_symbol_messages_total", exchange="gamma", symbol=SHOWN) > 0
    assert {row["symbol"] for row in scrape.series("marketdata_symbol_last_seen_timestamp_seconds")} >= {SHOWN}


def test_what_was_rejected_or_suspicious_can_be_found(run: Run) -> None:
    """OpenMetrics carries the place of the last record of each reason and kind."""
    page = run.sidecar.get("/metrics", Accept="application/openmetrics-text;version=1.0.0").text
    places = {
        tuple(sample.labels.items())[-1]: sample.exemplar.labels["topic"]
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.exemplar is not None and sample.value
    }
    assert places[("reason", "invalid_json")] == run.deployment.topic
    assert places[("kind", "size_mismatch")] == run.deployment.topic


def test_every_record_is_accepted_or_rejected(run: Run) -> None:
    """What was read is what was accepted and what was rejected, and nothing else."""
    scrape = run.sidecar.scrape()
    assert scrape.total("marketdata_records_total") == len(played()) + len([*GARBAGE, SUSPICIOUS])
    rejected = {row["reason"]: row.value for row in scrape.series("marketdata_records_rejected_total") if row.value}
    assert rejected == {"invalid_json": 1, "missing_field": 1, "empty": 1}


@each_capture
def test_events_add_up_to_the_metrics(run: Run, name: str) -> None:
    """In Confluent's wire format, with the schemas that the registry has."""
    exact = capture(name).truth
    events = [
        read_framed(event, run.registry.schemas) for event in run.deployment.cluster.read_all(run.deployment.events)
    ]
    assert _added(events, exact) == {feed: expected(counted) for feed, counted in exact.items()}


def test_each_rejected_record_has_an_error_event(run: Run) -> None:
    """With the reason that the metrics give."""
    errors = [
        read_framed(event, run.registry.schemas) for event in run.deployment.cluster.read_all(run.deployment.errors)
    ]
    assert Counter(error["reason"] for error in errors) == {"invalid_json": 1, "missing_field": 1, "empty": 1}


@pytest.mark.parametrize(
    ("event_type", "topic"), [("batch_collected", "events"), ("error", "errors")], ids=["batches", "errors"]
)
def test_a_stream_has_the_published_events(run: Run, event_type: str, topic: str) -> None:
    """Those in Kafka; of many in a second it has the first, and counts the others."""
    stored = [
        json.dumps(event, sort_keys=True)
        for record in run.deployment.cluster.read_all(getattr(run.deployment, topic))
        if (event := read_framed(record, run.registry.schemas))["event_type"] == event_type
    ]
    eventually(lambda: number_of(run.page, event_type) == len(stored))
    found = [event for each in run.page.published if each["type"] == event_type for event in each["events"]]
    assert found
    assert Counter(json.dumps(event["value"], sort_keys=True) for event in found) <= Counter(stored)


def number_of(page: Follower, event_type: str) -> int:
    """How many events of a type a stream has had, or says that it has not."""
    found = [each for each in page.published if each["type"] == event_type]
    return sum(len(each["events"]) + each["missed"] for each in found)


@each_capture
def test_the_page_shows_of_each_feed_what_the_metrics_do(run: Run, name: str) -> None:
    """By its stream, and by the view of the feed."""
    for feed, counted in capture(name).truth.items():
        numbers = {"batches": counted.batches, "messages": counted.messages}
        eventually(partial(_has_row, run.page, feed, numbers))
        view = run.sidecar.get(f"/api/v1/feed?feed={feed}").json()["data"]
        row = dict(zip(view["columns"], view["row"], strict=True))
        assert row.items() >= numbers.items()
        labels = FeedKey(*feed.split(":"))._asdict()
        assert row["batch_size"] == run.sidecar.scrape().total("marketdata_last_batch_size", **labels)


def _has_row(page: Follower, feed: str, numbers: dict[str, int]) -> bool:
    return rows(page.state)[feed].items() >= numbers.items()


@pytest.mark.parametrize(
    ("encoding", "read"), [("avro", read_event), ("json", lambda event: json.loads(event.value))], ids=["avro", "json"]
)
def test_events_say_the_same_in_every_encoding(
    broker: Broker, tmp_path: Path, encoding: str, read: Callable[[Record], dict[str, Any]]
) -> None:
    """A run to the end of the input: one event a batch, and summaries that add up to them."""
    with Deployment(broker, tmp_path) as deployment:
        deployment.create_outputs()
        broker.produce(deployment.topic, played())
        assert deployment.sidecar("one", "--until-caught-up", output__encoding=encoding).run_to_end() == 0
        events = list(map(read, broker.read_all(deployment.events)))
    assert _added(events, truth()) == {feed: expected(counted) for feed, counted in truth().items()}
    summaries = [event for event in events if event["event_type"] == "performance_summary"]
    totals = {_feed(event): event["aggregated_stats"]["total_messages"] for event in summaries}
    assert totals == {feed: counted.messages for feed, counted in truth().items()}


def _added(events: Sequence[dict[str, Any]], feeds: Iterable[str]) -> dict[str, dict[str, float]]:
    batches = [event for event in events if event["event_type"] == "batch_collected"]
    fields = ("batches", "messages", "sizes", "unique_sum", "efficiency_sum")
    sums = {feed: dict.fromkeys(fields, 0.0) for feed in feeds}
    for event in batches:
        if _feed(event) not in sums:
            continue
        of_feed, stats = sums[_feed(event)], event["stats"]
        of_feed["batches"] += 1
        of_feed["sizes"] += 1
        of_feed["messages"] += stats["batch_size"]
        of_feed["unique_sum"] += stats["unique_symbols"]
        of_feed["efficiency_sum"] += stats["cache_efficiency"]
    return sums


def _feed(event: dict[str, Any]) -> str:
    return str(FeedKey(*(event[name] for name in FeedKey._fields)))


@each_capture
def test_symbols_of_all_replicas_are_counted_in_redis(run: Run, name: str) -> None:
    """`/api/v1/symbols` has every symbol of the captured feeds, with its messages."""
    exact = capture(name).truth

    def rows() -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for row in run.sidecar.get("/api/v1/symbols").json()["data"]:
            feed = ":".join(row[name] for name in FeedKey._fields)
            symbols, messages = found.get(feed, (0, 0))
            found[feed] = (symbols + 1, messages + row["messages"])
        return {feed: found[feed] for feed in found if feed in exact}

    right = {feed: (counted.symbols, counted.messages) for feed, counted in exact.items()}
    eventually(lambda: _same(rows(), right), READ_SECONDS)


@pytest.mark.parametrize("expr", QUERIES)
def test_every_panel_shows_data(run: Run, expr: str) -> None:
    """Prometheus has an answer for what each panel asks."""
    if families_in(expr) <= ABSENT:
        assert run.prometheus.query(expr) == []
        return
    eventually(lambda: run.prometheus.query(expr), READ_SECONDS, f"nothing for {expr}")


def test_all_rules_can_be_evaluated(run: Run) -> None:
    """No rule fails on the series of a real run."""

    def health() -> set[str]:
        groups = run.prometheus.get("rules")["groups"]
        return {rule["health"] for group in groups for rule in group["rules"]}

    eventually(lambda: health() == {"ok"}, READ_SECONDS, "some rule cannot be evaluated")


def test_page_is_valid_in_every_format(run: Run) -> None:
    """Prometheus' own tool and prometheus-client's parser accept what is served."""
    promtool("check", "metrics", input=run.sidecar.get("/metrics").text)
    accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
    page = run.sidecar.get("/metrics", **accept)
    names = {family.name for family in text_string_to_metric_families(page.text)}
    assert {"marketdata_batches", "marketdata_redis_up", "process_cpu_seconds"} <= names


def _same(found: object, right: object) -> bool:
    assert found == right
    return True
