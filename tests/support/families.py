"""The metric families that dashboards and rules may name, and their labels: those of a sidecar with everything on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families

from exporter.app import App
from exporter.config import loader
from exporter.feeds.comparison import Comparison
from exporter.feeds.evaluator import Evaluator
from exporter.ingestion.cache.metrics import CacheMetrics, Outcome
from exporter.ingestion.consumer import ConsumerStatistics
from exporter.ingestion.encodings import encode_json
from exporter.ingestion.events import EVENTS, topic_of
from exporter.ingestion.reading import PartitionProgress
from exporter.ingestion.view.pipeline import IngestionPipeline
from exporter.instrument.exposition import TEXT, render
from exporter.kafka.positions import Position, Start
from exporter.model import FeedKey, Partition, Record, ResetCause
from exporter.pipeline import Pipeline
from exporter.source.consumer import KafkaSource
from exporter.tools.cache.families import ConsumerCollector
from tests.support.programs import measured
from tests.support.risk import evaluated
from tests.support.rounds import begun, completed, invalidation, rate

# Prometheus gives the first two to whatever it scrapes, its Operator and others some of the rest.
TARGET = frozenset({"job", "instance", "cluster", "namespace", "pod", "container"})
OF_PROMETHEUS = {"up": frozenset[str](), "ALERTS": frozenset({"alertname", "alertstate", "severity"})}

WEB_FILE = Path(__file__).parents[1] / "data/web.yml"
NOW_MS = 1_760_031_213_693
FEED = FeedKey("korea", "upbit", "ticker")
BESIDE = tuple(FeedKey("korea", *each) for each in (("bithumb", "ticker"), ("gopax", "ticker"), ("upbit", "orderbook")))
PAIRS = r"(?P<quote>\w+)-(?P<base>\w+)"
PARTITION = Partition("ticker-data.korea", 0)
LATER_MS = NOW_MS + 300_000


@contextmanager
def full_sidecar() -> Iterator[App]:
    """A sidecar with all optional parts that has read a record of each fate, but never met Kafka."""
    switched_on = {
        "redis.url": "redis://127.0.0.1:1/0",
        "output.schema_registry": "http://127.0.0.1:1",
        "feeds.expected": [str(FEED)],
        "feeds.symbols": {"shown": ["KRW-BTC"]},
        "feeds.pairs": [PAIRS],
        "web.config_file": str(WEB_FILE),
        "web.push.enabled": True,
        "ingestion.enabled": True,
        "risk.enabled": True,
        "risk.positions.file": "/nonexistent",
    }
    app = App(loader.load(None, {}, switched_on, hostname="box-1", read_file=str))
    assert isinstance(app.loop.source, KafkaSource)
    app.loop.source.counts.errors["_TRANSPORT"] = 1
    app.loop.pipeline.topic(PARTITION.topic).reset_ms = dict.fromkeys(ResetCause, NOW_MS)
    try:
        _read(app.loop.pipeline)
        app.loop.pipeline.partitions[PARTITION].end = 5
        assert app.ingestion is not None
        _read_rounds(app.ingestion.pipeline)
        assert app.risk is not None
        app.risk.snapshot = evaluated()
        yield app
    finally:
        for loop in (app.loop, app.ingestion):
            if loop is not None:
                loop.publisher.close(1.0)


def _read(pipeline: Pipeline) -> None:
    """Read a record that is no batch, one feed twice (symbols are missing after five minutes), and other feeds."""
    pipeline.assign(PARTITION, Start(Position(0, 0, NOW_MS), 0, 5))
    later = [(_batch(feed, LATER_MS), LATER_MS) for feed in (FEED, *BESIDE)]
    for offset, (value, now_ms) in enumerate([(None, NOW_MS), (_batch(FEED, NOW_MS), NOW_MS), *later]):
        records = [Record(PARTITION, offset, now_ms, value)]
        pipeline.analyze(records, pipeline.decode(records), now_ms)
        evaluator = Evaluator(Comparison([PAIRS], limit=1))
        evaluator.evaluate(list(pipeline.table.feeds.values()), {}, now_ms, is_reachable=True, is_sole_reader=True)


def _read_rounds(pipeline: IngestionPipeline) -> None:
    """Read some rounds, of which the last is open, a rate and an invalidation."""
    rounds = [make("api", str(number), NOW_MS) for number in range(4) for make in (begun, completed)]
    events = [*rounds, begun("api", "open", NOW_MS), rate("api", "USD", NOW_MS), invalidation("rate", "rate:USD")]
    places = {name: Partition(name, 0) for name in EVENTS}
    pipeline.begin({each: Start(Position(0, 0, NOW_MS), 0, 0) for each in places.values()}, NOW_MS)
    for second in range(3):
        pipeline.progress({}, False, NOW_MS + 1000 * second)
    pipeline.view.evaluate(NOW_MS)
    for number, event in enumerate(events):
        records = [Record(places[topic_of(event)], number, NOW_MS + number, encode_json(event))]
        pipeline.analyze(records, pipeline.decode(records), NOW_MS + number)
    pipeline.view.evaluate(NOW_MS + 1000)


def _batch(feed: FeedKey, now_ms: int) -> bytes:
    prices = {"asks": [[2, 1]], "bids": [[1, 1]]} if feed.request_type == "orderbook" else {"last": 1.0}
    message = {"target_currency": "KRW-BTC", "timestamp": now_ms, **prices}
    return json.dumps({**feed._asdict(), "timestamp_ms": now_ms, "data": [message]}).encode()


def parsed(app: App) -> dict[str, Metric]:
    """Every family of a page, by the name that a query uses."""
    page = render(app.queries.collect(), TEXT).decode()
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in text_string_to_metric_families(page)
    }


@cache
def exported() -> dict[str, frozenset[str]]:
    """The families of a full sidecar, each with its labels, `le` included."""
    with full_sidecar() as app:
        return {
            name: frozenset().union(*(sample.labels for sample in family.samples))
            for name, family in parsed(app).items()
        }


@cache
def of_programs() -> dict[str, frozenset[str]]:
    """The families of a program that measures itself, each with its labels."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: frozenset().union(
            *(sample.labels for sample in family.samples)
        )
        for family in measured().registry.collect()
    }


@cache
def of_caches() -> dict[str, Metric]:
    """The families of a cache service that has handled an event, by the name that a query uses."""
    registry = CollectorRegistry()
    metrics = CacheMetrics(registry, 1)
    metrics.count_event("exchange_rate_updated", Outcome.APPLIED, NOW_MS / 1000)
    metrics.show_update("USD", NOW_MS / 1000)
    progress = PartitionProgress(Partition("exchange_rate_updated", 0), 1, 1)
    registry.register(ConsumerCollector(lambda: ConsumerStatistics(True, 0.0, (progress,)), "", "1"))
    return {f"{each.name}_total" if each.type == "counter" else each.name: each for each in registry.collect()}


def labels_of_caches() -> dict[str, frozenset[str]]:
    """The same families, each with its labels."""
    return {
        name: frozenset().union(*(sample.labels for sample in family.samples)) for name, family in of_caches().items()
    }


@cache
def known() -> dict[str, frozenset[str]]:
    """What an expression may name: what is exported, what programs push, caches', and what Prometheus itself makes."""
    return exported() | of_programs() | labels_of_caches() | OF_PROMETHEUS


def family_of(series: str) -> str:
    """The family of a series: histograms and summaries add a suffix to its name, rules what they made of it."""
    if ":" in series:
        metric = series.split(":")[1]
        return metric if metric in known() else f"{metric}_total"
    for suffix in ("_bucket", "_sum", "_count"):
        if series not in known() and series.removesuffix(suffix) in known():
            return series.removesuffix(suffix)
    return series
