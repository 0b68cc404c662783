"""cryptofeed's own Kafka backend writes to the broker, and the preset reads everything that it writes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from exporter.model import FeedKey
from tests.support import collectors
from tests.support.formats import samples
from tests.support.kafka import Broker
from tests.support.sidecar import Deployment, Scrape, Sidecar
from tests.support.waiting import eventually

READ_SECONDS = 30.0
TICKS = 40
QUOTES = ("USDT", "BTC")
KINDS = {"trades": "trade", "ticker": "ticker", "candles": "candle", "book": "orderbook"}
SNAPSHOTS = (TICKS - 1) // 10  # between the changes of a book
FEEDS = [f"global:binance:{kind}" for kind in KINDS.values()]


def records(feed: str) -> int:
    """How many records a feed has, of both symbols."""
    return len(QUOTES) * (TICKS + (SNAPSHOTS if feed.endswith("orderbook") else 0))


class Run(NamedTuple):
    """A sidecar that has read everything."""

    topics: list[str]
    symbols: set[str]
    sidecar: Sidecar
    scrape: Scrape


@pytest.fixture(scope="module")
def run(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    base = f"X{uuid.uuid4().hex[:8].upper()}"
    symbols = {f"{base}-{quote}" for quote in QUOTES}
    topics = [f"{key}-BINANCE-{symbol}" for key in KINDS for symbol in sorted(symbols)]
    for topic in topics:
        broker.create_topic(topic)
    collectors.run("cryptofeed_writer.py", broker.bootstrap, base, str(TICKS))
    with Deployment(broker, tmp_path_factory.mktemp("cryptofeed")) as deployment:
        deployment.create_outputs()
        sidecar = deployment.sidecar(
            input__topics=[f"^[a-z]+-BINANCE-{base}-"],
            input__formats=["cryptofeed"],
            feeds__symbols={"shown": sorted(symbols), "stalest": 0},
        ).start()
        total = sum(map(records, FEEDS))
        eventually(lambda: read(sidecar.scrape()) == total, READ_SECONDS, f"not all of {total} records were read")
        yield Run(topics, symbols, sidecar, sidecar.scrape())


def read(scrape: Scrape) -> float:
    return scrape.total("marketdata_records_total")


def rows(run: Run) -> dict[str, Mapping[str, Any]]:
    found: list[dict[str, Any]] = run.sidecar.get("/api/v1/feeds").json()["data"]
    return {str(FeedKey(row["region"], row["exchange"], row["request_type"])): row for row in found}


def test_every_record_of_the_backend_belongs_to_its_feed(run: Run) -> None:
    assert {name: row["batches"] for name, row in rows(run).items()} == {feed: records(feed) for feed in FEEDS}
    assert run.scrape.total("marketdata_records_rejected_total") == 0


def test_nothing_that_the_backend_writes_is_suspicious(run: Run) -> None:
    assert [sample for sample in run.scrape.series("marketdata_anomalies_total") if sample.value] == []
    assert run.scrape.total("marketdata_unreadable_fields_total") == 0
    assert run.scrape.total("marketdata_clock_skew_total") == 0


def test_every_feed_of_the_backend_is_ok(run: Run) -> None:
    eventually(lambda: {row.get("state") for row in rows(run).values()} == {"ok"}, READ_SECONDS, "a feed is not ok")


@pytest.mark.parametrize("feed", FEEDS)
def test_a_feed_of_the_backend_has_latencies_and_price_changes(run: Run, feed: str) -> None:
    labels, scrape = FeedKey(*feed.split(":"))._asdict(), run.scrape
    latencies = scrape.series("marketdata_stage_latency_seconds_count", **labels)
    assert {sample["stage"]: sample.value for sample in latencies} == {
        "exchange_to_collector": records(feed),
        "collector_to_broker": records(feed),
        "broker_to_sidecar": records(feed),
    }
    assert scrape.total("marketdata_end_to_end_latency_seconds_count", **labels) == records(feed)
    # Binance stamps no ticker, so cryptofeed gives it the time of its receipt.
    wanted = 0 if feed.endswith("ticker") else 0.02 * records(feed)
    spent = scrape.total("marketdata_stage_latency_seconds_sum", **labels, stage="exchange_to_collector")
    assert spent == pytest.approx(wanted, abs=0.001 * records(feed))
    assert scrape.total("marketdata_feed_last_price_change_timestamp_seconds", **labels) > 0


def test_the_symbols_of_a_feed_are_those_of_all_its_topics(run: Run) -> None:
    def are_shown() -> bool:
        shown = run.sidecar.scrape().series("marketdata_symbol_messages_total")
        return {(sample["request_type"], sample["symbol"]) for sample in shown if sample.value} == {
            (kind, symbol) for kind in KINDS.values() for symbol in run.symbols
        }

    eventually(are_shown, READ_SECONDS, "symbols are missing")


def test_the_samples_have_the_fields_that_the_backend_writes(run: Run, broker: Broker) -> None:
    def shapes(values: list[bytes | None]) -> set[tuple[str, ...]]:
        return {tuple(json.loads(value or b"")) for value in values}

    for topic in run.topics:
        kind = topic.partition("-")[0]
        written = shapes([record.value for record in broker.read_all(topic)])
        sampled = shapes([each.value for each in samples("cryptofeed") if each.partition.topic.startswith(f"{kind}-")])
        assert written == sampled, kind
