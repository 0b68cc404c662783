"""Five collectors write to one broker at once, each in a shape of its own, and one sidecar reads them all."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import pytest

from exporter.model import FeedKey
from tests.support.cluster import Record
from tests.support.kafka import Broker
from tests.support.sidecar import Deployment, Scrape, Sidecar
from tests.support.waiting import eventually

READ_SECONDS = 30.0
TICKS = 40
STEP_MS = 50
SIZE = 3  # rows a record, where records have rows


class Written(NamedTuple):
    """How many records and rows a feed has."""

    batches: int
    messages: int


class Traffic:
    """Records of five collectors that ends now, on topics that end with a word of this run."""

    def __init__(self) -> None:
        self.suffix = uuid.uuid4().hex[:8]
        self.now_ms = time.time_ns() // 1_000_000
        self.topics: dict[str, list[Record]] = {}
        self.codecs: dict[str, str] = {}
        for write in (self._cryptofeed, self._kor_coin_stream, self._binance, self._kraken, self._message_pack):
            for index in range(TICKS):
                write(index, self.now_ms - (TICKS - index) * STEP_MS)

    def _add(self, topic: str, codec: str, value: object, key: bytes | None = None, **headers: bytes) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        name = f"{topic}.{self.suffix}"
        self.codecs[name] = codec
        self.topics.setdefault(name, []).append(Record(body, key, headers))

    def _cryptofeed(self, index: int, ms: int) -> None:
        at = {"timestamp": ms / 1000 - 0.02, "receipt_timestamp": ms / 1000}
        symbol = ("BTC-KRW", "ETH-KRW")[index % 2]
        tick = {"exchange": "UPBIT", "symbol": symbol, **at}
        trade = {"side": "buy", "amount": 0.1, "price": 100.0 + index, "id": str(index), "type": None}
        self._add(f"trades-UPBIT-{symbol}", "gzip", tick | trade)
        self._add(f"ticker-UPBIT-{symbol}", "gzip", tick | {"bid": 100.0 + index, "ask": 101.0 + index})
        sides = {"bid": {str(100 + index): 1.0}, "ask": {str(101 + index): 2.0}}
        change = {"bid": [[100.0 + index, 1.5]], "ask": []}
        self._add(
            f"book-UPBIT-{symbol}", "gzip", tick | ({"delta": change} if index else {"book": sides, "delta": None})
        )

    def _kor_coin_stream(self, index: int, ms: int) -> None:
        outer = {"region": "korea", "exchange": "bithumb", "timestamp_ms": ms, "batch_size": SIZE}
        rows = [
            {"code": f"KRW-{name}", "timestamp": ms / 1000 - 0.1, "high": 900, "low": 1, "close": 100 + index}
            for name in "ABC"
        ]
        self._add("ticker-data.korea", "lz4", outer | {"request_type": "ticker", "data": rows}, b"korea-bithumb-ticker")

    def _binance(self, index: int, ms: int) -> None:
        trade = {"e": "trade", "E": ms, "s": "BTCUSDT", "p": f"{100 + index}.50000000", "q": "0.1", "T": ms - 3}
        self._add("binance", "snappy", {"stream": "btcusdt@trade", "data": trade})
        if index == 0:
            self._add("binance", "snappy", {"result": None, "id": 1})

    def _kraken(self, index: int, ms: int) -> None:
        stamp = datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")
        rows = [{"symbol": "BTC/USD", "price": 100.5 + index, "qty": 0.1, "timestamp": stamp} for _ in range(SIZE)]
        self._add("kraken", "zstd", {"channel": "trade", "type": "update", "data": rows})
        self._add("kraken", "zstd", {"channel": "heartbeat"})

    def _message_pack(self, index: int, ms: int) -> None:
        """What no preset knows: MessagePack, the exchange in a header, the symbol in the key."""
        tick = msgspec.msgpack.encode([1, ms * 1000, 100.0 + index])
        self._add("ticks.eu", "none", tick, f"OKX|{'BTC' if index % 2 else 'ETH'}".encode(), kind=b"TRADE")


EXPECTED = {
    "global:upbit:trade": Written(TICKS, TICKS),
    "global:upbit:ticker": Written(TICKS, TICKS),
    "global:upbit:orderbook": Written(TICKS, TICKS),
    "korea:bithumb:ticker": Written(TICKS, TICKS * SIZE),
    "global:binance:trade": Written(TICKS, TICKS),
    "global:kraken:trade": Written(TICKS, TICKS * SIZE),
    "eu:okx:trade": Written(TICKS, TICKS),
}
WITH_BATCH_EVENTS = {"korea:bithumb:ticker", "global:kraken:trade"}


def formats(suffix: str) -> list[object]:
    return [
        "cryptofeed",
        "kor-coin-stream-2026",
        {"preset": "binance-combined", "topics": f"binance.{suffix}"},
        {"preset": "kraken", "topics": [f"kraken.{suffix}"]},
        {
            "topics": r"^ticks\.(?P<region>[a-z]+)\.",
            "encoding": "msgpack",
            "array": ["version", "at", "price"],
            "feed": {
                "region": {"topic": "region"},
                "exchange": {"key": r"^([A-Z]+)[|]", "case": "lower"},
                "request_type": {"header": "kind", "case": "lower"},
            },
            "time": {"field": "at", "unit": "us"},
            "row": {
                "symbol": {"key": r"^[A-Z]+[|](.+)$"},
                "timestamp": {"field": "at", "unit": "us"},
                "price": "price",
            },
        },
    ]


class Run(NamedTuple):
    """A sidecar that has read everything."""

    deployment: Deployment
    sidecar: Sidecar
    scrape: Scrape


@pytest.fixture(scope="module")
def run(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    traffic = Traffic()
    with Deployment(broker, tmp_path_factory.mktemp("formats")) as deployment:
        deployment.create_outputs()
        for topic, codec in traffic.codecs.items():
            broker.create_topic(topic, 1, compression_type="uncompressed" if codec == "none" else codec)
        for topic, records in traffic.topics.items():
            broker.produce(topic, records)
        sidecar = deployment.sidecar(
            input__topics=[rf"^.+\.{traffic.suffix}$"],
            input__formats=formats(traffic.suffix),
            output__summary_interval="1s",
            feeds__symbols={"shown": ["BTC-KRW", "KRW-A", "BTCUSDT", "BTC/USD", "BTC"], "stalest": 0},
        ).start()
        total = sum(len(records) for records in traffic.topics.values())
        eventually(lambda: read(sidecar.scrape()) == total, READ_SECONDS, f"not all of {total} records were read")
        yield Run(deployment, sidecar, sidecar.scrape())


def read(scrape: Scrape) -> float:
    return scrape.total("marketdata_records_total")


def rows(run: Run) -> dict[str, Mapping[str, Any]]:
    found: list[dict[str, Any]] = run.sidecar.get("/api/v1/feeds").json()["data"]
    return {str(FeedKey(row["region"], row["exchange"], row["request_type"])): row for row in found}


def test_every_record_belongs_to_its_feed(run: Run) -> None:
    found = {name: (row["batches"], row["messages"]) for name, row in rows(run).items()}
    assert found == {name: (written.batches, written.messages) for name, written in EXPECTED.items()}
    assert run.scrape.total("marketdata_records_rejected_total") == 0
    assert run.scrape.total("marketdata_records_filtered_total") == TICKS + 1


def test_no_feed_has_anything_suspicious(run: Run) -> None:
    anomalies = run.scrape.series("marketdata_anomalies_total")
    assert [sample for sample in anomalies if sample.value] == []


def test_every_feed_is_ok(run: Run) -> None:
    eventually(lambda: {row.get("state") for row in rows(run).values()} == {"ok"}, READ_SECONDS, "a feed is not ok")


@pytest.mark.parametrize("feed", EXPECTED)
def test_a_feed_has_sizes_latencies_and_price_changes(run: Run, feed: str) -> None:
    labels, written = FeedKey(*feed.split(":"))._asdict(), EXPECTED[feed]
    scrape = run.scrape
    assert scrape.total("marketdata_batch_size_sum", **labels) == written.messages
    one_symbol = 3 if feed == "korea:bithumb:ticker" else 1
    assert scrape.total("marketdata_batch_unique_symbols_sum", **labels) == written.batches * one_symbol
    assert scrape.total("marketdata_batch_cache_efficiency_ratio_sum", **labels) == pytest.approx(
        written.batches / one_symbol
    )
    assert scrape.total("marketdata_end_to_end_latency_seconds_count", **labels) == written.batches
    assert scrape.total("marketdata_feed_last_message_timestamp_seconds", **labels) > 0
    assert scrape.total("marketdata_feed_last_price_change_timestamp_seconds", **labels) > 0


def test_symbols_are_those_of_the_records(run: Run) -> None:
    def are_shown() -> bool:
        shown = {sample["symbol"] for sample in run.sidecar.scrape().series("marketdata_symbol_messages_total")}
        return shown >= {"BTC-KRW", "KRW-A", "BTCUSDT", "BTC/USD", "BTC"}

    eventually(are_shown, READ_SECONDS, "symbols are missing")


def test_summaries_tell_of_all_feeds_and_batch_events_of_those_with_rows(run: Run) -> None:
    written = {FeedKey(*name.split(":")): (each.batches, each.messages) for name, each in EXPECTED.items()}

    def is_told() -> bool:
        return run.deployment.told().summaries == written

    eventually(is_told, READ_SECONDS, "summaries are missing")
    events = run.deployment.told().batches
    assert {str(batch.feed) for batch in events} == WITH_BATCH_EVENTS
    assert len(events) == TICKS * len(WITH_BATCH_EVENTS)


def test_the_configuration_shows_the_formats_that_presets_mean(run: Run) -> None:
    answer = run.sidecar.get("/config")
    assert answer.ok
    assert "cryptofeed" in answer.text
    assert "receipt_timestamp" in answer.text


def test_an_audit_agrees_with_events_and_metrics(run: Run) -> None:
    """Events of feeds with rows, none of the others, and control messages in neither."""
    told = run.sidecar.run("audit", "--json", "--metrics", f"http://127.0.0.1:{run.sidecar.port}/metrics")
    assert told.returncode == 0, told.stdout + told.stderr
    found = json.loads(told.stdout)
    assert {feed: (row["batches"], row["messages"]) for feed, row in found["feeds"].items()} == EXPECTED
    assert {feed for feed, row in found["feeds"].items() if row["batch_events"]} == WITH_BATCH_EVENTS
    assert found["filtered"] == TICKS + 1
