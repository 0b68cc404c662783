"""Records of programs that no preset is for are read by a format of a few lines."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import fastavro
import pytest

from exporter.config.schema import Limits
from exporter.decoding.batch import Batch, PartialBatch
from exporter.decoding.formats.avro import parsed
from exporter.decoding.formats.formats import Formats
from exporter.decoding.json_decoder import Decoder
from exporter.events.encoding import confluent_frame
from exporter.model import FeedKey
from tests.support.formats import configured, record

MS = 1_700_000_000_250
REGISTRY = "http://registry:8081"
CONST = {"region": "global", "request_type": "trade"}


def read(one: dict[str, Any], value: object, topic: str, schema: Any = None, key: bytes | None = None) -> Batch:
    """Read a record by one format; Avro with this schema."""
    config = configured(one).input
    formats = Formats(config.formats, Limits(), Decoder(Limits()), lambda registry: lambda number: schema)
    found = formats.read(record(value, topic, key))
    assert found is not None
    assert not isinstance(found, PartialBatch)
    return found


def avro(schema: dict[str, Any], value: dict[str, Any]) -> tuple[bytes, Any]:
    """Return a record in Confluent's wire format, and the schema to read it with."""
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return confluent_frame(1) + stream.getvalue(), parsed(json.dumps(schema))


def fields(**types: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": name, "type": kind} for name, kind in types.items()]}


def feed(batch: Batch) -> str:
    return str(FeedKey(batch.region, batch.exchange, batch.request_type))


def test_batches_whose_rows_are_texts_with_json() -> None:
    """Older pipelines of kor-coin-stream's authors: the region in the topic, the exchange in the key."""
    one = {
        "topics": "^(?P<region>[a-z]+)-(?P<kind>ticker|orderbook)$",
        "rows": "data",
        "text_rows": True,
        "feed": {"region": {"topic": "region"}, "exchange": {"field": "market"}, "request_type": {"topic": "kind"}},
        "row": {"symbol": {"key": "^[a-z]+:[a-z]+-(.+)$"}, "timestamp": "timestamp", "last": "trade_price"},
    }
    rows = [json.dumps({"timestamp": MS, "trade_price": 100.0 + number}) for number in range(3)]
    value = {"region": "Korea", "market": "upbit", "symbol": "BTC", "data": rows}
    batch = read(one, value, "korea-ticker", key=b"upbit:ticker-BTC")
    assert feed(batch) == "korea:upbit:ticker"
    assert [(row.symbol, row.timestamp, row.last) for row in batch.data] == [
        ("BTC", MS, price) for price in (100, 101, 102)
    ]


def test_flat_trades_of_kraken_courses() -> None:
    one = {
        "topics": "trades-raw",
        "feed": CONST | {"exchange": "kraken"},
        "row": {"symbol": "pair", "timestamp": "timestamp_ms", "price": "price"},
    }
    (row,) = read(one, {"pair": "BTC/USD", "price": 1.5, "volume": 2.0, "timestamp_ms": MS}, "trades-raw").data
    assert (row.symbol, row.timestamp, row.price) == ("BTC/USD", MS, 1.5)


def test_arrays_of_tickers_of_binance() -> None:
    one = {
        "preset": "binance-raw",
        "topics": "tickers",
        "rows": "[]",
        "skip": None,
        "feed": {"request_type": "ticker"},
    }
    ticker = {"e": "24hrMiniTicker", "E": MS, "s": "BNBBTC", "c": "0.0025", "o": "0.1", "h": "0.3", "l": "0.001"}
    batch = read(one, [ticker, ticker | {"s": "ETHBTC"}], "tickers")
    assert feed(batch) == "global:binance:ticker"
    assert [(row.symbol, row.last, row.high) for row in batch.data] == [
        ("BNBBTC", 0.0025, 0.3),
        ("ETHBTC", 0.0025, 0.3),
    ]


def test_klines_of_binance_in_avro() -> None:
    kline = {"type": "record", "name": "K", "fields": [{"name": name, "type": "string"} for name in "ochl"]}
    schema = fields(e="string", E="long", s="string", k=kline)
    value, known = avro(schema, {"e": "kline", "E": MS, "s": "BTCUSDT", "k": dict.fromkeys("ochl", "1.5")})
    one = {"preset": "binance-raw", "topics": "klines", "encoding": "avro-confluent", "schema_registry": REGISTRY}
    batch = read(one, value, "klines", known)
    assert (feed(batch), batch.data[0].last, batch.data[0].timestamp) == ("global:binance:kline", 1.5, MS)


def test_trades_with_text_prices_in_avro() -> None:
    schema = fields(exchange="string", canonical_symbol="string", price="string", exchange_timestamp="long")
    given = {"exchange": "Kraken", "canonical_symbol": "BTC/USD", "price": "1.5", "exchange_timestamp": MS}
    value, known = avro(schema, given)
    one = {
        "topics": r"^market\.crypto\.trades\.[a-z]+$",
        "encoding": "avro-confluent",
        "schema_registry": REGISTRY,
        "numbers": "text",
        "feed": CONST | {"exchange": {"field": "exchange", "case": "lower"}},
        "row": {"symbol": "canonical_symbol", "timestamp": "exchange_timestamp", "price": "price"},
    }
    batch = read(one, value, "market.crypto.trades.kraken", known)
    assert (feed(batch), batch.data[0].price, batch.data[0].timestamp) == ("global:kraken:trade", 1.5, MS)


def test_records_whose_exchange_and_symbol_are_in_the_topic_only() -> None:
    """kafka-cryptocoin: no exchange and no symbol in the record, no key."""
    schema = fields(last="float", bid="float", ask="float", timeCollected="long")
    value, known = avro(schema, {"last": 1.5, "bid": 1.25, "ask": 1.75, "timeCollected": MS})
    one = {
        "topics": r"^(?P<exchange>[a-z]+)\.streaming\.(?P<symbol>[a-z]+)\.(?P<kind>[a-z]+)$",
        "encoding": "avro-confluent",
        "schema_registry": REGISTRY,
        "feed": {"region": "global", "exchange": {"topic": "exchange"}, "request_type": {"topic": "kind"}},
        "time": "timeCollected",
        "row": {"symbol": {"topic": "symbol", "case": "upper"}, "last": "last"},
    }
    batch = read(one, value, "bitfinex.streaming.btcusd.ticker", known)
    assert (feed(batch), batch.timestamp_ms) == ("global:bitfinex:ticker", MS)
    assert [(row.symbol, row.last) for row in batch.data] == [("BTCUSD", 1.5)]


@pytest.mark.parametrize("sep", ["|", ":"])
def test_the_exchange_may_be_the_beginning_of_the_key(sep: str) -> None:
    one = {
        "topics": "t",
        "feed": CONST | {"exchange": {"key": f"^([A-Z]+)[{sep}]", "case": "lower"}},
        "row": {"symbol": "s", "price": "p"},
    }
    assert feed(read(one, {"s": "A", "p": 1}, "t", key=f"BINANCE{sep}BTCUSDT".encode())) == "global:binance:trade"
