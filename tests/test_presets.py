"""Each preset reads the records that its program writes: feed, times, symbols and prices."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import pytest

from exporter.config.format_schema import FormatConfig
from exporter.config.presets import presets
from exporter.decoding.batch import NO_JSON, Batch, Message, PartialBatch
from exporter.decoding.batch_stats import BatchStats
from exporter.model import FeedKey
from tests.support.documents import blocks, page
from tests.support.formats import KAFKA_MS, reader, record, samples


class Row(NamedTuple):
    """What a row says; of the sides of a book what the analyzer looks at first."""

    symbol: str
    timestamp: Any
    last: float | None = None
    range: tuple[float, float] | None = None
    price: float | None = None
    asks: str = ""
    bids: str = ""


class Read(NamedTuple):
    """What a batch says."""

    feed: str
    time_ms: int
    rows: list[Row]


def row(message: Message) -> Row:
    low, high = message.low, message.high
    sides = (first_level(side) for side in (message.asks, message.bids))
    span = None if low is None or high is None else (low, high)
    return Row(message.symbol, message.timestamp, message.last, span, message.price, *sides)


def first_level(side: Any) -> str:
    return "" if side is NO_JSON else bytes(side).decode().replace(" ", "").split("]")[0].lstrip("[")


def read(batch: Batch | None) -> Read | None:
    if batch is None:
        return None
    assert not isinstance(batch, PartialBatch), batch
    feed = str(FeedKey(batch.region, batch.exchange, batch.request_type))
    return Read(feed, batch.timestamp_ms, [row(message) for message in batch.data])


BNB = "BNBBTC"
BNB_MS = 1_672_515_782_136
FORMATS: dict[str, object] = {
    "cryptofeed": "cryptofeed",
    "kor-coin-stream-2025": "kor-coin-stream-2025",
    "kor-coin-stream-2026": "kor-coin-stream-2026",
    "binance-raw": {"preset": "binance-raw", "topics": "binanceTrades"},
    "binance-combined": {"preset": "binance-combined", "topics": "crypto-prices"},
    "upbit": {"preset": "upbit", "topics": "upbit-ticks"},
    "ccxt": {"preset": "ccxt", "topics": "crypto_raw", "feed": {"exchange": "binance"}},
    "ccxt-pro": {"preset": "ccxt-pro", "topics": "ticks"},
    "kraken": {"preset": "kraken", "topics": "trades-raw"},
}
EXPECTED: dict[str, list[Read | None]] = {
    "cryptofeed": [
        Read("global:upbit:trade", 1_760_031_213_740, [Row("BTC-KRW", 1_760_031_213_693, price=176_695_000)]),
        Read("global:coinbase:trade", 1_760_031_214_149, [Row("ETH-USD", 1_760_031_214_112, price=4361.27)]),
        Read(
            "global:kraken:ticker",
            1_760_031_214_200,
            [Row("BTC-USD", 1_760_031_214_200, asks="121300.1,1", bids="121300.0,1")],
        ),
        Read(
            "global:coinbase:orderbook",
            1_760_031_214_350,
            [Row("BTC-USD", 1_760_031_214_300, asks='"121300.5",0.3', bids='"121299.5",0.41')],
        ),
        Read(
            "global:coinbase:orderbook",
            1_760_031_214_450,
            [Row("BTC-USD", 1_760_031_214_400, asks="", bids="121299.6,0.5")],
        ),
        Read(
            "global:binance:candle",
            1_760_031_240_090,
            [Row("BTC-USDT", 1_760_031_240_000, last=121_300.2, range=(121_248.5, 121_310))],
        ),
    ],
    "kor-coin-stream-2025": [
        Read(
            "korea:bithumb:ticker",
            1_760_031_213_693,
            [
                Row("KRW-BTC", 1_760_031_199_778, last=176_695_000, range=(176_500_000, 178_054_000)),
                Row("KRW-ETH", 1_760_031_199_900, last=6_350_000, range=(6_340_000, 6_420_000)),
            ],
        ),
        Read(
            "korea:upbit:orderbook",
            1_760_031_213_700,
            [Row("KRW-BTC", 1_760_031_213_650, asks='"176700000","0.5"', bids='"176695000","0.2"')],
        ),
    ],
    "kor-coin-stream-2026": [
        Read(
            "korea:upbit:ticker",
            1_772_000_000_123,
            [
                Row("KRW-BTC", 1_772_000_000_000, last=150_700_000, range=(149_000_000, 151_500_000)),
                Row("KRW-ETH", 1_772_000_000_050, last=4_520_000, range=(4_410_000, 4_550_000)),
            ],
        ),
        Read("korea:upbit:trade", 1_772_000_000_200, [Row("KRW-BTC", 1_772_000_000_101, price=150_701_000)]),
    ],
    "binance-raw": [
        Read("global:binance:trade", KAFKA_MS, [Row(BNB, BNB_MS, price=0.001)]),
        Read("global:binance:trade", KAFKA_MS, [Row(BNB, BNB_MS, price=0.001)]),
        Read("global:binance:ticker", KAFKA_MS, [Row(BNB, BNB_MS, last=0.0025, range=(0.001, 0.0041))]),
        Read("global:binance:ticker", KAFKA_MS, [Row(BNB, BNB_MS, last=0.0025, range=(0.001, 0.0025))]),
        Read("global:binance:kline", KAFKA_MS, [Row(BNB, BNB_MS, last=0.002, range=(0.0015, 0.0025))]),
        Read("global:binance:orderbook", KAFKA_MS, [Row(BNB, BNB_MS, asks='"0.0026","100"', bids='"0.0024","10"')]),
        Read(
            "global:binance:book_ticker", KAFKA_MS, [Row("BNBUSDT", 0, asks='"25.36520000",1', bids='"25.35190000",1')]
        ),
        Read(
            "global:binance:book_ticker",
            KAFKA_MS,
            [Row("BNBUSDT", 1_568_014_460_893, asks='"25.36520000",1', bids='"25.35190000",1')],
        ),
        Read("global:binance:mark_price", KAFKA_MS, [Row("BTCUSDT", 1_562_305_380_000, price=11_794.15)]),
        None,
    ],
    "binance-combined": [
        Read("global:binance:trade", KAFKA_MS, [Row("BTCUSDT", BNB_MS, price=16_850.01)]),
        Read("global:binance:kline", KAFKA_MS, [Row("BTCUSDT", BNB_MS, last=16_851, range=(16_849, 16_852))]),
        None,
    ],
    "upbit": [
        Read(
            "korea:upbit:ticker",
            KAFKA_MS,
            [Row("KRW-BTC", 1_676_947_262_052, last=32_287_000, range=(31_855_000, 32_310_000))],
        ),
        Read("korea:upbit:trade", KAFKA_MS, [Row("KRW-BTC", 1_676_965_524_544, price=31_980_000)]),
        Read("korea:upbit:orderbook", KAFKA_MS, [Row("KRW-BTC", 1_746_601_573_804)]),
        None,
        None,
    ],
    "ccxt": [
        Read(
            "global:binance:ticker",
            KAFKA_MS,
            [Row("BTC/USDT", 1_700_000_000_123, last=37_100.1, range=(36_105.5, 37_450))],
        )
    ],
    "ccxt-pro": [
        Read("global:binance:trade", KAFKA_MS, [Row("BTCUSDT", 1_700_000_000_123, price=37_100.1)]),
        Read("global:binance:ticker", KAFKA_MS, [Row("BTCUSDT", 1_700_000_000_150, last=37_100.2)]),
    ],
    "kraken": [
        Read(
            "global:kraken:trade",
            KAFKA_MS,
            [
                Row("MATIC/USD", pytest.approx(1_695_628_177_708.706), price=0.5117),
                Row("MATIC/USD", pytest.approx(1_695_628_177_909.706), price=0.5116),
            ],
        ),
        Read("global:kraken:ticker", KAFKA_MS, [Row("ALGO/USD", 0, last=0.10035, range=(0.09979, 0.10285))]),
        Read(
            "global:kraken:orderbook",
            KAFKA_MS,
            [Row("MATIC/USD", 0, asks="0.5668,4410.79769741", bids="0.5666,4831.75496356")],
        ),
        Read("global:kraken:ohlc", KAFKA_MS, [Row("MATIC/USD", 0, last=0.5627, range=(0.5622, 0.5628))]),
        None,
        None,
        None,
    ],
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_preset_reads_what_its_program_writes(name: str) -> None:
    formats = reader(FORMATS[name])
    found = [read(formats.read(each)) for each in samples(name)]
    expected = EXPECTED[name]
    assert [None if each is None else each.feed for each in found] == [
        None if each is None else each.feed for each in expected
    ]
    for got, wanted in zip(found, expected, strict=True):
        assert got is None or wanted is None or got.rows == [_about(one) for one in wanted.rows]
        assert got is None or wanted is None or got.time_ms == wanted.time_ms


def _about(one: Row) -> Row:
    """Seconds as a float are exact to a fraction of a microsecond."""
    return one._replace(timestamp=pytest.approx(one.timestamp, abs=0.001))


def test_each_preset_has_samples() -> None:
    parts = {name for name in presets() if name not in FORMATS and any(name.startswith(f"{each}-") for each in FORMATS)}
    assert presets().keys() - parts - {"binance"} == FORMATS.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_one_row_has_size_one_and_efficiency_one(name: str) -> None:
    formats = reader(FORMATS[name])
    for each in samples(name):
        batch = formats.read(each)
        if batch is not None and len(batch.data) == 1:
            assert BatchStats(batch).result[:3] == (1, 1, 1.0)


def test_what_an_entry_says_wins_over_its_preset() -> None:
    formats = reader({"preset": "cryptofeed", "feed": {"region": "korea", "exchange": {"field": "exchange"}}})
    first, *_ = samples("cryptofeed")
    batch = formats.read(first)
    assert batch is not None
    assert (batch.region, batch.exchange, batch.request_type) == ("korea", "UPBIT", "trade")


def test_topics_without_a_format_have_the_usual_batch() -> None:
    formats = reader("cryptofeed")
    usual, _ = samples("kor-coin-stream-2025")
    batch = formats.read(record(usual.value, "ticker-data.korea"))
    assert batch is not None
    assert [message.symbol for message in batch.data] == ["KRW-BTC", "KRW-ETH"]


def documented() -> list[str]:
    return blocks("json", page("input-formats"))


def test_the_samples_in_the_documents_are_among_those_that_are_tested() -> None:
    tested = [json.loads(each.value or b"") for name in FORMATS for each in samples(name)]
    assert documented()
    assert [block for block in documented() if json.loads(block) not in tested] == []


def test_the_presets_in_the_documents_are_those_that_exist() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| [^|]+ \| ([^|]+) \|", page("input-formats"), re.MULTILINE)
    stated = {name: re.findall(r"`([\w-]+)`", parts) for name, parts in rows if name in presets()}
    named = {part for parts in stated.values() for part in parts} | stated.keys()
    assert named == presets().keys() - {"binance"}
    assert all(len(presets()[name]) == len(parts) for name, parts in stated.items())


def test_the_keys_of_a_format_are_all_documented() -> None:
    stated = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", page("input-formats"), re.MULTILINE)
    assert set(stated) - presets().keys() == set(FormatConfig.__struct_fields__)
