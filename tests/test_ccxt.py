"""ccxt beside the presets: tickers that it makes are read, and messages of exchanges are read as it reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.decoding.batch import Batch, Message
from exporter.model import Record
from tests.support import collectors
from tests.support.formats import reader, record, samples
from tests.test_presets import FORMATS, first_level

# Tickers as the exchanges' own interfaces answer, in the words of each exchange's documents.
ANSWERS: list[tuple[str, dict[str, Any]]] = [
    ("upbit", {"market": "KRW-BTC", "trade_price": 8621000, "high_price": 8679000, "low_price": 8445000,
               "trade_timestamp": 1524047020000, "timestamp": 1524047026072}),
    ("okx", {"instId": "BTC-USDT", "last": "9999.99", "askPx": "9999.99", "bidPx": "8888.88", "high24h": "10000",
             "low24h": "8500", "ts": "1597026383085"}),
    ("bybit", {"symbol": "BTCUSDT", "bid1Price": "20517.96", "ask1Price": "20527.77", "lastPrice": "20533.13",
               "highPrice24h": "21128.12", "lowPrice24h": "20318.89"}),
    ("bithumb", {"opening_price": "504000", "closing_price": "505000", "min_price": "504000", "max_price": "516000",
                 "date": "1417141032622"}),
    ("kraken", {"a": ["52609.6", "1", "1.000"], "b": ["52609.5", "1", "1.000"], "c": ["52641.1", "0.00080000"],
                "l": ["51513.9", "51513.9"], "h": ["53219.9", "57200.0"], "o": "52280.4"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def parsed() -> dict[str, Any]:
    """What ccxt makes of each answer and sample: its tickers and trades, by exchange and number."""
    binance, upbit, kraken = (
        [json.loads(one.value or b"") for one in samples(name)] for name in ("binance-raw", "upbit", "kraken")
    )
    calls = {
        **{f"rest {name}": (name, "parse_ticker", [answer]) for name, answer in ANSWERS},
        **{f"binance-raw {number}": ("binance", "parse_ws_trade", [binance[number]]) for number in (0, 1)},
        **{f"binance-raw {number}": ("binance", "parse_ws_ticker", [binance[number], "spot"]) for number in (2, 3, 6)},
        "upbit 0": ("upbit", "parse_ticker", [upbit[0]]),
        "upbit 1": ("upbit", "parse_trade", [upbit[1]]),
        "kraken 0": ("kraken", "parse_trade", [kraken[0]["data"][0]]),
    }
    found = json.loads(collectors.run("ccxt_reader.py", given=json.dumps(list(calls.values()))))
    return dict(zip(calls, found, strict=True))


def first_row(one: Record, name: str) -> Message:
    batch = reader(FORMATS[name]).read(one)
    assert type(batch) is Batch
    return batch.data[0]


@pytest.mark.parametrize("exchange", [name for name, _ in ANSWERS])
def test_a_ticker_of_ccxt_is_read_whatever_the_exchange(parsed: dict[str, Any], exchange: str) -> None:
    ticker = parsed[f"rest {exchange}"] | {"symbol": "BTC/USDT"}
    row = first_row(record(ticker, "crypto_raw"), "ccxt")
    assert (row.symbol, row.last, row.high, row.low) == ("BTC/USDT", ticker["last"], ticker["high"], ticker["low"])
    assert row.timestamp == ticker["timestamp"]


@pytest.mark.parametrize("sample", ["binance-raw 0", "binance-raw 1", "upbit 1", "kraken 0"])
def test_a_trade_of_an_exchange_is_read_as_ccxt_reads_it(parsed: dict[str, Any], sample: str) -> None:
    name, number = sample.split()
    row, trade = first_row(samples(name)[int(number)], name), parsed[sample]
    assert row.price == trade["price"]
    # Binance's own time of a trade is a little before that of its event.
    assert row.timestamp == pytest.approx(trade["timestamp"], abs=3)


@pytest.mark.parametrize("sample", ["binance-raw 2", "binance-raw 3", "upbit 0"])
def test_a_ticker_of_an_exchange_is_read_as_ccxt_reads_it(parsed: dict[str, Any], sample: str) -> None:
    name, number = sample.split()
    row, ticker = first_row(samples(name)[int(number)], name), parsed[sample]
    assert (row.last, row.high, row.low) == (ticker["last"], ticker["high"], ticker["low"])


def test_a_best_bid_and_ask_is_read_as_ccxt_reads_it(parsed: dict[str, Any]) -> None:
    row, ticker = first_row(samples("binance-raw")[6], "binance-raw"), parsed["binance-raw 6"]
    best = [float(first_level(side).split(",")[0].strip('"')) for side in (row.asks, row.bids)]
    assert best == [ticker["ask"], ticker["bid"]]


def test_the_sample_of_a_ticker_has_the_fields_of_ccxt(parsed: dict[str, Any]) -> None:
    (sample,) = samples("ccxt")
    assert json.loads(sample.value or b"").keys() == parsed["rest upbit"].keys()
