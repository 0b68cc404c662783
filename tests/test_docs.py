"""README.md and docs/ say what the code does: what they name exists, and what exists is named."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import fastavro
import pytest
import requests
import yaml
from prometheus_client import Metric

import exporter
from exporter import cli, status
from exporter.analyzers import analyzers, thresholds
from exporter.app import App
from exporter.config import loader
from exporter.config.parsers import size
from exporter.config.schema import Config, Limits, Thresholds
from exporter.config.web_file import WebFile
from exporter.decoding.batch import ELSEWHERE, Batch, PartialBatch
from exporter.decoding.json_decoder import Decoder
from exporter.events import values
from exporter.events.encoding import AvroEncoder, Stamp, confluent_frame, single_object_frame
from exporter.events.factory import NOT_DELIVERED, Event, EventFactory
from exporter.events.values import load_schema
from exporter.feeds import rejections, states
from exporter.feeds.states import FeedState
from exporter.ingestion.encodings import SCHEMAS
from exporter.ingestion.events import PARTITIONS
from exporter.instrument.samples import samples
from exporter.kafka import clients
from exporter.kafka.positions import Position, Start
from exporter.kafka.unreadable import LEAST_TRIES
from exporter.model import Anomaly, BatchResult, EventType, FeedKey, Partition, Reason, Record, Rejected
from exporter.performance.circuit import Circuit, CircuitState
from exporter.publishing.channels import Cause
from exporter.publishing.retry import DUPLICATE
from exporter.runtime import watchdog
from exporter.source.causes import CauseKind
from exporter.source.consumer import KafkaSource
from exporter.store.keyspace import Keys
from exporter.tools.check.series import cost
from exporter.web import heads, limits, parameters, protocol, routes
from tests.support.alerts import all_rules
from tests.support.documents import DOCUMENTS, PAGES, README, blocks, page
from tests.support.families import full_sidecar, of_caches, parsed
from tests.support.panels import panel_queries
from tests.support.prometheus import amtool, promtool, scrape_jobs
from tests.support.promql import groupings, selectors_without
from tests.support.queries import site

ROOT = Path(__file__).parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PROSE = FENCED.sub("", DOCUMENTS)
FLAT = " ".join(DOCUMENTS.split())
CODE = re.findall(r"`([^`\n]+)`", PROSE)

FEED = FeedKey("korea", "upbit", "ticker")
PARTITION = Partition("ticker-data.korea", 0)
NOW_MS = 1_760_031_213_693
# What an event does not name in full: the documents say `marketdata.monitoring.` and the event type.
CLOSED_LABELS = {"cause", "event", "stage", "event_type", "state", "operation", "level", "label", "result"}


def unquoted(cell: str) -> str:
    return cell.strip().strip("`")


def table(*head: str) -> list[list[str]]:
    """The rows of the table with these words at its head."""
    lines = DOCUMENTS.splitlines()
    start = lines.index(f"| {' | '.join(head)} |") + 2
    rows = [line for line in lines[start : lines.index("", start)] if line.startswith("|")]
    # A bar inside code does not end a cell, but there is none in these tables.
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def column(*head: str) -> list[str]:
    """The first cells of a table, without their quotes; none stands twice."""
    cells = [unquoted(row[0]) for row in table(*head)]
    assert len(cells) == len(set(cells))
    return cells


def config(text: str | None = None, **flags: object) -> Config:
    given = {path.replace("__", "."): value for path, value in flags.items()}
    return loader.load(text, {}, given, hostname="box-1", read_file=lambda path: "hunter2")


@pytest.fixture(scope="module")
def families() -> Iterator[dict[str, Metric]]:
    """Every family of a sidecar with all optional parts, by the name that a query uses."""
    with full_sidecar() as app:
        yield parsed(app)


# Metrics.


def test_the_metrics_are_those_of_a_running_sidecar(families: dict[str, Metric]) -> None:
    shown = {name for name in families if name.startswith("marketdata_")}
    assert set(column("name", "type", "labels", "meaning")) == shown


def test_other_families_are_those_of_the_process_and_of_python(families: dict[str, Metric]) -> None:
    others = {name.partition("_")[0] for name in families if not name.startswith("marketdata_")}
    assert others == {"process", "python"}
    assert "`process_*`" in DOCUMENTS
    assert "`python_*`" in DOCUMENTS


def labels_of(family: Metric) -> set[str]:
    (names,) = {frozenset(sample.labels) - {"le"} for sample in family.samples}
    return set(names)


def test_metrics_have_the_types_and_labels_that_are_told(families: dict[str, Metric]) -> None:
    for name, kind, labels, _ in table("name", "type", "labels", "meaning"):
        told = {label for part in labels.split(",") if (label := unquoted(part))}
        family = families[unquoted(name)]
        assert family.samples, f"{name}: nothing to compare with"
        assert (kind, told - {"F"} | (set(FEED._fields) if "F" in told else set())) == (family.type, labels_of(family))


def test_the_values_of_closed_labels_are_told(families: dict[str, Metric]) -> None:
    """And `reason`, where it is not that of a rejection."""
    for name, _, _, meaning in table("name", "type", "labels", "meaning"):
        labels = CLOSED_LABELS | ({"reason"} if "rejected" not in name else set())
        samples = families[unquoted(name)].samples
        found = {value for sample in samples for label, value in sample.labels.items() if label in labels}
        if found:
            assert found == set(re.findall(r"`(\w+)`", meaning)), name


def test_metrics_that_are_named_anywhere_exist(families: dict[str, Metric]) -> None:
    named = set(re.findall(r"\bmarketdata_\w+", DOCUMENTS)) - {"marketdata_exporter"}
    assert named <= set(families) | set(of_caches())


def test_the_metrics_of_a_cache_service_are_those_that_are_told() -> None:
    """With their types, labels, and the values of labels that have few."""
    told = {unquoted(name): (kind, labels, meaning) for name, kind, labels, meaning in table(*CACHE_HEAD)}
    assert set(told) == set(of_caches())
    for name, family in of_caches().items():
        kind, labels, meaning = told[name]
        samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        assert (kind, {unquoted(label) for label in labels.split(",") if label}) == (
            family.type, {label for sample in samples for label in sample.labels} - {"le"}
        )  # fmt: skip
        closed = ("outcome", "kind", "change", "operation", "reason")
        values = {value for sample in samples for label, value in sample.labels.items() if label in closed}
        assert values <= set(re.findall(r"`(\w+)`", meaning)), name


CACHE_HEAD = ("family", "type", "labels", "meaning")


def test_series_are_as_many_as_is_told() -> None:
    each = cost(config(redis__url="redis://127.0.0.1:1/0", output__schema_registry="http://127.0.0.1:1"))
    assert f"A feed has up to {each.feed} series, a topic {each.topic}, a partition {each.partition}; " in FLAT
    assert each.fixed < 310


# Input.


def test_the_example_of_a_batch_is_accepted() -> None:
    (example,) = [block for block in blocks("json") if "target_currency" in block]
    batch = Decoder(Limits()).decode(example.encode())
    assert FeedKey(batch.region, batch.exchange, batch.request_type) == ("korea", "bithumb", "ticker")


def test_the_limits_are_those_of_the_configuration() -> None:
    told = {unquoted(row[0]).removeprefix("input.limits."): size(row[1]) for row in table(*LIMIT_HEAD)}
    assert told == {field: getattr(Limits(), field) for field in Limits.__struct_fields__}


def test_a_broken_limit_is_told_with_a_reason_that_exists() -> None:
    reasons = [unquoted(reason) for row in table(*LIMIT_HEAD) for reason in row[2].split(",")]
    assert set(reasons) <= set(Reason)


LIMIT_HEAD = ("limit", "default", "rejected as")


def test_the_reasons_are_those_of_the_code() -> None:
    assert column("reason", "what it means", "what to do") == list(Reason)


def test_the_kinds_of_anomalies_are_those_of_the_code() -> None:
    meanings = {kind: text for each in analyzers() for kind, text in each.meanings.items()}
    assert {Anomaly(unquoted(row[0])): row[1] for row in table("kind", "what it means")} == meanings


def test_unreadable_fields_are_named_as_is_told() -> None:
    assert f"under `{ELSEWHERE}` anywhere else" in FLAT


VALUE_HEAD = ("value", "price", "`timestamp`", "`timestamp_ms`")
# What the examples say: a time of the table, the same to the second and to the minute, and small numbers.
SPELLED = (1_795_886_938_056, 1_795_886_938_000, 1_795_886_880_000, 1500, 15)


def read_values(column: int) -> Iterator[tuple[bytes, str]]:
    """Each example of a value in the table, and what the table says of it in that column."""
    for row in table(*VALUE_HEAD):
        yield from ((example.encode(), row[column]) for example in re.findall(r"`([^`]+)`", row[0]))


def decoded(stamp: bytes = b"1", row: bytes = b"") -> Batch:
    names = b'"region":"korea","exchange":"upbit","request_type":"ticker"'
    value = b'{%b,"timestamp_ms":%b,"data":[{"target_currency":"A"%b}]}' % (names, stamp, row)
    return Decoder(Limits()).decode(value)


@pytest.mark.parametrize(("field", "column"), [("last", 1), ("timestamp", 2), ("price", 1)])
def test_fields_are_read_as_is_told(field: str, column: int) -> None:
    for example, outcome in read_values(column):
        batch = decoded(row=b',"%b": %b' % (field.encode(), example))
        unreadable = dict(batch.unreadable) if isinstance(batch, PartialBatch) else {}
        is_read = getattr(batch.data[0], field) is not None
        assert (is_read, unreadable) == (outcome == "read", {field: 1} if outcome == "unreadable" else {}), example
        assert outcome in ("read", "unreadable", "none")


def test_the_stamp_of_a_batch_is_read_as_is_told() -> None:
    for example, outcome in read_values(3):
        if outcome == "read":
            assert decoded(example).timestamp_ms in SPELLED, example
        else:
            with pytest.raises(Rejected, match=r"wrong_type.*timestamp_ms"):
                decoded(example)


# Feed states.


def test_the_states_are_those_of_the_code_in_the_order_in_which_they_are_looked_for() -> None:
    told = column("state", "when", "what to look at")
    shown = [line.split("|")[1].strip() for line in (states.__doc__ or "").splitlines() if line.startswith("| ")]
    assert set(told) == set(FeedState)
    assert told == shown[1:]


def test_the_thresholds_of_states_are_those_of_the_code() -> None:
    assert f"for {states.STALLED_MS // 1000} s ({states.STALLED_OVERDUE_MS // 1000} s if the feed is overdue)" in FLAT
    assert f"`partial` and `delayed` after {states.PATIENCE_MS // 1000} s; " in FLAT
    assert f"for a better one after {states.CALM_MS // 1000} s in which it did not hold" in FLAT
    rule = Thresholds()
    assert f"`factor` ({rule.factor:g}) times" in FLAT
    assert f"between `floor` ({rule.floor:g} s) and `ceiling` ({rule.ceiling / 3600:g} h)" in FLAT
    assert f"the limit on unchanged prices is at least {thresholds.FROZEN_FLOOR_MS // 60_000} minutes" in FLAT
    learned = f"Until {thresholds.LEARNED_INTERVALS} intervals over {thresholds.LEARNED_MS // 60_000} minutes are known"
    assert learned in FLAT


def test_each_state_and_each_alert_about_feeds_is_the_answer_to_some_failure() -> None:
    rows = table("failure", "state", "alert", "what to do")
    assert set(FeedState) == {state for row in rows for state in re.findall(r"`(\w+)`", row[1])}
    rules = yaml.safe_load((ROOT / "grafana" / "rules" / "feeds.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert alerts <= {alert for row in rows for alert in re.findall(r"\[(\w+)\]", row[2])}


# Events.


def flattened(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Paths and types of a schema's fields."""
    for field in schema["fields"]:
        kind = field["type"]
        if isinstance(kind, dict) and kind["type"] == "array":
            yield prefix + field["name"], f"array of {kind['items']}"
        elif isinstance(kind, dict):
            yield from flattened(kind, f"{prefix}{field['name']}.")
        else:
            yield prefix + field["name"], " or ".join(kind) if isinstance(kind, list) else kind


def test_the_fields_of_events_are_those_of_the_schemas() -> None:
    told = [(unquoted(row[0]), unquoted(row[1]), row[2]) for row in table("event type", "field", "type", "meaning")]
    assert told == [(kind.value, *field) for kind in EventType for field in flattened(load_schema(kind))]


def test_the_events_of_ingestion_are_those_of_the_code() -> None:
    told = [(*map(unquoted, row[:2]), unquoted(row[2]), unquoted(row[3])) for row in table(*INGESTION_HEAD)]
    assert told == [
        (topic, str(count), name, "{namespace}.{name}".format(**SCHEMAS[topic]))
        for (topic, count), name in zip(
            PARTITIONS.items(), ("correlation_id", "currency_code", "correlation_id", "none"), strict=True
        )
    ]


def test_the_fields_of_the_events_of_ingestion_are_those_of_the_schemas() -> None:
    told = [(unquoted(row[0]), unquoted(row[1]), row[2]) for row in table("topic", "field", "type", "meaning")]
    assert told == [(topic, *field) for topic, schema in SCHEMAS.items() for field in flattened(schema)]


INGESTION_HEAD = ("topic", "partitions", "key", "Avro record", "when")


def test_the_events_are_those_of_the_code() -> None:
    told = {
        unquoted(row[0]): (unquoted(row[1]), unquoted(row[3]))
        for row in table("event type", "topic", "key", "Avro record", "when")
    }
    assert told == {
        kind.value: (
            "output.error_topic" if kind is EventType.ERROR else "output.topic",
            "{namespace}.{name}".format(**load_schema(kind)),
        )
        for kind in EventType
    }


def test_the_keys_of_events_are_as_told() -> None:
    keys = {unquoted(row[0]): row[2] for row in table("event type", "topic", "key", "Avro record", "when")}
    assert keys[EventType.BATCH] == keys[EventType.SUMMARY] == f"`{':'.join(FEED._fields)}`"
    assert batch_event().key == str(FEED).encode()
    assert keys[EventType.ERROR].startswith("`topic/partition/offset`")
    assert error_event().key == b"ticker-data.korea/0/7"


def batch_event() -> Event:
    record = Record(PARTITION, 7, NOW_MS, b"{}", traceparent=b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    return factory().batch(record, FEED, BatchResult(150, 25, 0.04, NOW_MS), Stamp.at(NOW_MS))


def error_event() -> Event:
    rejected = Rejected(Reason.EMPTY, "the record has no value")
    return factory().rejected(Record(PARTITION, 7, NOW_MS, None), rejected, 0, "2025-10-13T08:10:00.123Z")


def factory() -> EventFactory:
    return EventFactory(AvroEncoder(), "box-1", "monitoring.batch.performance", "ws.error")


def test_the_headers_are_those_of_an_event() -> None:
    headers = dict(batch_event().headers)
    assert set(column("header", "value")) == set(headers)
    assert headers["ce_id"] == b"ticker-data.korea/0/7"
    assert headers["ce_type"] == b"marketdata.monitoring.batch_collected"


def test_the_frames_are_as_told() -> None:
    single, confluent = single_object_frame(load_schema(EventType.BATCH)), confluent_frame(1)
    assert (single[:2].hex(" ").upper(), len(single)) == ("C3 01", 2 + 8)
    assert (confluent[:1].hex(), len(confluent)) == ("00", 1 + 4)
    assert "`C3 01`, the schema's CRC-64-AVRO fingerprint (8 bytes" in FLAT
    assert "`00`, the schema's id (4 bytes" in FLAT


def test_the_example_of_an_event_follows_its_schema() -> None:
    (example,) = [json.loads(block) for block in blocks("json") if "event_type" in json.loads(block)]
    assert fastavro.validate(example, load_schema(EventType(example["event_type"])))


def test_the_example_of_a_subject_is_one() -> None:
    schema = load_schema(EventType.BATCH)
    assert f"`{config().output.topic}-{schema['namespace']}.{schema['name']}`" in FLAT


def test_the_reason_of_a_failed_send_is_told() -> None:
    assert page("events").count(f"`{NOT_DELIVERED}`") == page("python-api").count(f"`{NOT_DELIVERED}`") == 1


# Commands and configuration.


def commands(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the program itself says that it knows."""
    with pytest.raises(SystemExit):
        cli.main(["no-such-command"])
    choices = re.search(r"choose from (.*)\)", capsys.readouterr().err)
    assert choices
    return re.findall(r"\w+", choices[1])


def test_the_commands_are_those_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(column("command", "what it does", "exit codes")) == set(commands(capsys))


@pytest.mark.parametrize("row", table("command", "what it does", "exit codes"), ids=lambda row: unquoted(row[0]))
def test_the_flags_of_a_command_exist(row: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([unquoted(row[0]), "--help"])
    assert set(re.findall(r"`(--[\w.-]+)", row[1])) <= set(re.findall(r"--[\w.-]+", capsys.readouterr().out))


def test_the_exit_codes_are_those_of_the_program() -> None:
    assert column("exit code", "meaning") == [str(code) for code in (cli.OK, cli.FATAL, cli.USAGE, watchdog.EXIT_STUCK)]


def command_lines() -> list[str]:
    shown = [line for block in blocks("sh") for line in block.splitlines()]
    # In running text a command may stand on two lines.
    said = re.findall(r"`(marketdata-exporter[^`]*)`", PROSE)
    return [" ".join(line.split()) for line in (*shown, *said)]


def test_command_lines_can_be_typed_as_they_stand() -> None:
    """Those of the program are understood, and what `make` is asked for exists."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for program, *arguments in map(shlex.split, command_lines()):
        if program == "make":
            assert arguments[0] in targets
        elif program == "marketdata-exporter" and arguments not in ([], ["--version"]):
            cli._parser().parse_args(arguments)


def test_flags_and_variables_are_keys() -> None:
    known = set(loader.keys())
    for flag in re.findall(r"--([a-z]+\.[a-z.-]+)", DOCUMENTS):
        assert flag in ("config.file", "web.config.file") or flag.replace("-", "_") in known, flag
    for variable in re.findall(r"\bMARKETDATA_[A-Z_]+", DOCUMENTS):
        path = variable.removeprefix("MARKETDATA_").lower().replace("__", ".")
        assert path in known or path.startswith("kafka.properties."), variable


def test_keys_that_are_named_in_the_text_exist() -> None:
    known = set(loader.keys())
    sections = {path.partition(".")[0] for path in known if "." in path}
    named = {
        found[0] for code in CODE if (found := re.match(r"([a-z]+)\.[a-z_.]+[a-z]", code)) and found[1] in sections
    }
    files = {f"{path.stem}.py" for path in (ROOT / "exporter").rglob("*.py")}
    assert named - files <= known


OF_OTHERS = {"scrape_configs", "metric_relabel_configs", "portfolios", "scenarios", *WebFile.__struct_fields__}


def sidecar_blocks() -> list[str]:
    return [block for block in blocks("yaml") if not OF_OTHERS & yaml.safe_load(block).keys()]


@pytest.mark.parametrize("block", sidecar_blocks(), ids=range(len(sidecar_blocks())))
def test_configurations_can_be_loaded(block: str) -> None:
    loaded = config(block)
    assert loaded != config()
    instance = yaml.safe_load(block).get("instance", "$")
    assert loaded.instance == (instance if "$" not in instance else "box-1")


def test_the_three_layers_say_the_same() -> None:
    """The examples of the table set one key, each in its way."""
    file, variable, flag = (unquoted(row[1]) for row in table("layer", "example", "rule"))
    name, _, value = variable.partition("=")
    path, _, given = flag.removeprefix("--").partition("=")
    by_variable = loader.load(None, {name: value}, {}, hostname="box-1", read_file=str)
    assert config(file) == by_variable == config(None, **{path: given})
    assert by_variable != config()


@pytest.mark.parametrize(
    "block", [block for block in blocks("yaml") if "scrape_configs:" in block], ids=["", "pods", "TLS"]
)
def test_the_scrape_configurations_are_the_shipped_one_for_other_targets(block: str, tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    # Its rules are relative to the checkout, and Debian's Prometheus was built without discovery in Kubernetes.
    text = block.replace("grafana/", f"{ROOT}/grafana/").replace("kubernetes_sd_configs: [{role: pod}]", "")
    file.write_text(text)
    for name in re.findall(r"[\w/]+_file: ([\w.]+)", text):
        (tmp_path / name).touch()
    assert "SUCCESS" in promtool("check", "config", file)
    shipped, _ = scrape_jobs((ROOT / "prometheus.yml").read_text())
    (job,) = scrape_jobs(block)
    common = {"job_name", "scrape_interval", "honor_labels"}
    assert {key: job[key] for key in common} == {key: shipped[key] for key in common}


def test_the_labels_by_which_pods_are_found_are_those_of_the_manifest() -> None:
    manifests = yaml.safe_load_all((ROOT / "kubernetes" / "marketdata-exporter.yml").read_text())
    (pod,) = [each["spec"]["template"] for each in manifests if each["kind"] == "StatefulSet"]
    (job,) = scrape_jobs(next(block for block in blocks("yaml") if "kubernetes_sd_configs" in block))
    kept = [rule["regex"] for rule in job["relabel_configs"] if rule.get("action") == "keep"]
    (port,) = pod["spec"]["containers"][0]["ports"]
    assert kept == [pod["metadata"]["labels"]["app.kubernetes.io/name"], port["name"]]


def test_rules_and_dashboards_go_by_another_label_of_deployments_after_what_is_told(tmp_path: Path) -> None:
    """All of them, and Alertmanager's example; they are as valid as before."""
    shutil.copytree(ROOT / "grafana", tmp_path / "grafana")
    generator = tmp_path / "grafana" / "generate.py"
    generator.write_text(generator.read_text().replace("DEPLOYMENT = (", 'DEPLOYMENT = ("environment", '))
    (told,) = [block for block in blocks("sh") if "sed " in block]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["sh", "-ec", told], cwd=tmp_path, check=True, env=os.environ | {"PATH": path})
    files = sorted((tmp_path / "grafana" / "rules").glob("*.yml"))
    assert "SUCCESS" in promtool("check", "rules", *files)
    assert "SUCCESS" in amtool("check-config", tmp_path / "grafana" / "alertmanager.yml")
    for rule in all_rules(files):
        for word, labels in groupings(rule["expr"]):
            assert word == "ignoring" or not labels or {"environment", "cluster"} <= labels
    for dashboard in (tmp_path / "grafana" / "dashboards").glob("*.json"):
        for query in panel_queries(json.loads(dashboard.read_text())):
            assert selectors_without(query.expr, {"environment", "cluster"}) == []


# HTTP, Redis, guarantees.


def test_the_paths_are_those_of_the_server() -> None:
    """Each one answers."""
    told = column("path", "what it gives")
    with site() as served:
        urls = {path: served.url(path) + "?feed=korea:upbit:ticker" for path in told}
        statuses = {path: requests.head(url, timeout=10).status_code for path, url in urls.items()}
        served_paths = {*served.server._routes._routes, *served.server._routes.health_paths}
    assert set(statuses.values()) == {200}
    assert set(told) == served_paths | {"/", "/feeds/korea:upbit:ticker", "/programs"}


def test_the_reasons_for_not_being_ready_are_those_of_the_loop() -> None:
    """Everything is wrong at once: each reason is told, in this order; some have several forms."""
    app = App(config())
    try:
        source = app.loop.source
        assert isinstance(source, KafkaSource)
        source.paused = True
        app.loop.publisher._retry.failed(Cause.DENIED, "why", 0.0)
        for _ in range(LEAST_TRIES):
            source._gaps.failed(PARTITION, 7, "broken", 0.0)
        app.loop.turned_at -= 2 * status.STALLED_SECONDS
        silent, *others = app.status.ready().reasons
        source._errors.causes.set(CauseKind.REFUSED, "why", time.monotonic())
        refused, *_ = app.status.ready().reasons
        source._errors.causes.clear()
        source.subscribed = True
        joined, *_ = app.status.ready().reasons
        unhealthy = app.status.healthy().reasons
        app.loop.assigned({PARTITION: Start(Position(0, 0, NOW_MS), 0, 10)})
        behind, *same = app.status.ready().reasons
        assert same == others
        app.loop.publisher._retry.needs_operator = DUPLICATE
        *_, duplicate, stalled = app.status.ready().reasons
        given = [silent, refused, joined, behind, *others[:-1], duplicate, stalled]
    finally:
        app.loop.publisher.close(1.0)
    told = column("`/-/ready` says", "meaning")
    assert [fits(pattern, reason) for pattern, reason in zip(told, given, strict=True)] == [True] * len(told)
    assert [any(fits(code, reason) for code in CODE) for reason in unhealthy] == [True]


def fits(pattern: str, text: str) -> bool:
    """Whether a text is the pattern, with anything in the place of …"""
    return re.fullmatch(".+".join(map(re.escape, pattern.split("…"))), text) is not None


def test_the_keys_in_redis_are_those_of_the_layout() -> None:
    keys = Keys("marketdata")
    partition = str(PARTITION)
    assert column("key", "type", "holds") == [
        keys.messages(partition), keys.seen(partition), keys.distinct(FEED, 489453), keys.partitions
    ]  # fmt: skip


def test_figures_in_sentences_are_those_of_the_code() -> None:
    web = limits.ClientLimits()
    places = f"{web.waiting} whose request waits, and {web.active} that are answered or idle"
    assert f"at most {web.incoming} connections that have not sent a request, {places}" in FLAT
    times = f"{web.request_seconds:g} s for a request, {web.response_seconds:g} s for an answer"
    assert f"{times}, {web.idle_seconds:g} s between two" in FLAT
    head = f"longer than {heads.LINE_BYTES_MAX} bytes; the head is longer than {heads.HEAD_BYTES_MAX}"
    headers = f"a header longer than {protocol.FIELD_BYTES_MAX}, or there are more than {protocol.HEADERS_MAX}"
    assert f"{head}, {headers}" in FLAT
    assert f"({parameters.SYMBOLS} unless given, at most {parameters.SYMBOLS_MAX})" in FLAT
    assert f"a parameter is wrong; there are at most {routes.PARAMETERS_MAX}" in FLAT
    assert f"{values.EXCERPT_BYTES} bytes of the record about the byte" in FLAT
    assert f"by the broker after {clients.TRANSACTIONAL['transaction.timeout.ms'] // 1000} s" in FLAT
    assert f"for {status.STALLED_SECONDS:g} s; `/-/healthy`" in FLAT
    assert f"the first at once, then one in {rejections.LOG_SECONDS // 60} minutes" in FLAT
    assert f"clearly more often ({rejections.RISEN:g} times) since then" in FLAT
    assert rejections.WARNED_RATIO == 0.1
    assert "which share of a topic, from a tenth in the last minute or two on" in FLAT


def test_the_breaker_of_redis_is_as_told() -> None:
    failures, rest = map(int, re.findall(r"circuit breaker \((\d+) failures, then (\d+) s of rest\)", FLAT)[0])
    breaker = Circuit()
    states = []
    for _ in range(failures):
        states.append(breaker.state)
        breaker.failed(0.0)
    assert states == [CircuitState.CLOSED] * failures
    assert (breaker.allows(rest - 0.1), breaker.allows(rest)) == (False, True)


def test_the_transactional_id_is_as_told() -> None:
    told = "`<input.group>-<instance>`"
    made = clients.producer_properties(config(input__group="group", instance="instance"))["transactional.id"]
    assert page("events").count(told) == page("configuration").count(told) == 1
    assert made == "group-instance"


# Python.


@pytest.mark.parametrize("block", blocks("python"), ids=range(len(blocks("python"))))
def test_python_can_be_run(block: str) -> None:
    """It is Python, imports what there is, and calls what it imports with arguments that this takes."""
    tree = compile(block, "docs", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported = {
        name.name: getattr(import_module(node.module or ""), name.name) for node in imports for name in node.names
    }
    callables: dict[str, Callable[..., object]] = {}
    for name, kind in imported.items():
        callables |= {name: kind} | {method: member for method, member in vars(kind).items() if callable(member)}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        if name in callables:
            bind(callables[name], call)


def bind(called: Callable[..., object], call: ast.Call) -> None:
    """Raise TypeError when the arguments do not fit."""
    is_method = not inspect.isclass(called) and "." in getattr(called, "__qualname__", ".")
    positional: Sequence[object] = [None] * (len(call.args) + is_method)
    inspect.signature(called).bind(*positional, **{str(word.arg): None for word in call.keywords})


def test_the_python_api_is_shown_whole() -> None:
    used = set(re.findall(r"\w+", page("python-api")))
    assert set(exporter.__all__) - {"BatchResult"} <= used


# The documents themselves.


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text: str) -> list[str]:
    """The targets of links and pictures in prose."""
    return re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text))


ALL_TEXTS = PAGES | {name: (ROOT / name).read_text(encoding="utf-8") for name in ("CHANGELOG.md", "SECURITY.md")}


@pytest.mark.parametrize("name", ALL_TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    """A file that exists, and a heading of its own page."""
    for target in links(ALL_TEXTS[name]):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            file = (ROOT / name).parent / path if path else ROOT / name
            assert file.exists(), target
            assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), target


def linked_pages(name: str) -> set[str]:
    """The documents that a document links to."""
    paths = {target.partition("#")[0] for target in links(PAGES[name])}
    found = {((ROOT / name).parent / path).resolve() for path in paths if path.endswith(".md")}
    return {file.relative_to(ROOT).as_posix() for file in found}


def test_the_readme_is_one_screen_from_which_every_page_is_reached() -> None:
    assert len(README.splitlines()) <= 120
    assert PAGES.keys() - {"README.md"} <= linked_pages("README.md")


@pytest.mark.parametrize("name", [name for name in PAGES if name != "README.md"])
def test_a_page_has_one_title_and_a_way_back(name: str) -> None:
    assert len(re.findall(r"^# ", FENCED.sub("", PAGES[name]), flags=re.MULTILINE)) == 1
    assert "README.md" in linked_pages(name)


def test_the_metrics_in_the_readme_are_of_a_sidecar(families: dict[str, Metric]) -> None:
    (shown,) = blocks("text", README)
    found = list(samples(shown))
    assert len(found) == 10
    for sample in found:
        assert set(sample.labels) - {"le"} == labels_of(families[sample.name])


# Persons, and idioms of the project.
# `us` is a unit, too.
UNIT = r"(?<!`)(?<!unit: )(?<!ms, )us"
PRIVATE = rf"\b(we|{UNIT}|our|ours|somebody|someone|anybody|nobody|whoever|anew|told|to be had)\b"
FOR_USERS = (
    *("README.md", "SECURITY.md", "docs/*.md", "exporter/*/reference.yml"),
    *("*.yml", "grafana/*.yml", "grafana/rules/*.yml", "kubernetes/*.yml"),
)


@pytest.mark.parametrize("pattern", FOR_USERS)
def test_texts_for_users_speak_of_things_and_not_of_persons(pattern: str) -> None:
    files = list(ROOT.glob(pattern))
    assert files
    assert [(file.name, re.findall(PRIVATE, file.read_text(encoding="utf-8"), re.IGNORECASE)) for file in files] == [
        (file.name, []) for file in files
    ]


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    assert "make test" in (line for block in blocks("sh", README) for line in block.splitlines())
    assert re.search(r"^make test\b", (ROOT / ".ci" / "run").read_text(), flags=re.MULTILINE)


def test_files_that_are_named_exist() -> None:
    named = [code for code in CODE if re.fullmatch(r"(exporter|grafana|tests|\.ci)(/[\w.-]+)+", code)]
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_steps_of_a_record_are_parts_of_the_package() -> None:
    named = [unquoted(row[1]) for row in table("step", "where", "what happens")]
    assert [name for name in named if not (ROOT / "exporter" / name).exists()] == []


def test_the_runbook_has_a_part_for_alerts_only() -> None:
    """That every alert has one is a fact about the rules."""
    files = [yaml.safe_load(path.read_text()) for path in (ROOT / "grafana" / "rules").glob("*.yml")]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    assert set(re.findall(r"^### (.+)$", page("runbook"), flags=re.MULTILINE)) == alerts


def test_panels_that_the_runbook_names_exist() -> None:
    dashboards = [json.loads(path.read_text()) for path in (ROOT / "grafana" / "dashboards").glob("*.json")]
    titles = {shown["title"] for dashboard in dashboards for shown in (dashboard, *dashboard["panels"])}
    named = {" ".join(name.split()) for name in re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", page("runbook"))}
    assert named - {"Status → Targets"} <= titles


def test_the_targets_of_make_are_those_of_the_makefile() -> None:
    documented = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = [line.split()[0] for line in documented.splitlines()]
    assert set(column("`make`", "what it does")) == set(targets) - {"help"}


def test_the_changelog_names_the_version_that_is_built() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] in CHANGELOG


def logged(level: str) -> set[str]:
    """The messages of calls like `log.warning(...)` in the package; each is a constant."""
    calls = [
        node
        for path in (ROOT / "exporter").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (f"log.{level}", f"_log.{level}")
    ]
    assert calls
    return {ast.literal_eval(call.args[0]) for call in calls}


def test_the_runbook_explains_each_warning_and_error_of_the_log() -> None:
    explained = set(column("line", "meaning", "what to do"))
    # A filter's and the watchdog's.
    elsewhere = {"cannot connect to a broker", "no token for the brokers", "watchdog ends the process"}
    assert elsewhere <= explained
    assert explained - elsewhere == logged("warning") | logged("error") | logged("critical")
