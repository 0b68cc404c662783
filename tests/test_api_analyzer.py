"""Programs count batches in their memory as the sidecar does."""

import asyncio
import json
import math
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from importlib import metadata
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter import BatchAnalyzer, BatchResult, ConfigError, Rejected
from exporter.config.schema import Limits, RedisConfig
from exporter.decoding.batch import FIELDS
from exporter.decoding.json_decoder import Decoder
from exporter.model import FeedKey, Reason
from exporter.runtime.clock import now_ms
from exporter.store.client import StoreMetrics
from exporter.store.redis_store import RedisStore
from exporter.store.store import SymbolStatistics
from tests.support.captures import capture, each_capture
from tests.support.process import free_port
from tests.support.redis import RedisServer
from tests.support.sidecar import Scrape
from tests.support.store import listed

UPBIT: dict[str, Any] = {"region": "korea", "exchange": "upbit", "request_type": "ticker"}
STAMP_MS = 1_760_031_213_693


def rows(*symbols: object) -> list[dict[str, Any]]:
    """Rows about these symbols."""
    return [{"target_currency": symbol, "timestamp": STAMP_MS - 5, "last": 1.5} for symbol in symbols]


def page(analyzer: BatchAnalyzer) -> Scrape:
    """The metrics of the analyzer."""
    return Scrape(analyzer.metrics().decode())


def test_a_batch_returns_its_size_unique_symbols_and_cache_efficiency() -> None:
    result = BatchAnalyzer().analyze_batch(batch_data=rows("A", "B", "A"), timestamp_ms=STAMP_MS, **UPBIT)
    size, symbols, efficiency, stamp_ms = result
    assert (size, symbols, efficiency, stamp_ms) == (3, 2, 0.5, STAMP_MS)
    assert result == BatchResult(3, 2, 0.5, STAMP_MS)


def test_a_batch_without_messages_has_no_efficiency() -> None:
    assert BatchAnalyzer().analyze_batch([], timestamp_ms=STAMP_MS, **UPBIT) == BatchResult(0, 0, 0.0, STAMP_MS)


def test_a_batch_without_a_stamp_was_collected_now() -> None:
    before_ms = now_ms()
    stamp_ms = BatchAnalyzer().analyze_batch(batch_data=rows("A"), **UPBIT).timestamp_ms
    assert before_ms <= stamp_ms <= now_ms()


@each_capture
def test_captured_traffic_is_counted_exactly(name: str) -> None:
    """Results, the page and the truth agree on every feed."""
    analyzer = BatchAnalyzer()
    records, truth = capture(name)
    results: dict[str, list[BatchResult]] = {feed: [] for feed in truth}
    for record in records:
        batch, labels = record.value, FeedKey(*record.feed.split(":"))._asdict()
        result = analyzer.analyze_batch(batch["data"], **labels, timestamp_ms=batch["timestamp_ms"])
        results[record.feed].append(result)
    scrape = page(analyzer)
    for feed, exact in truth.items():
        labels = FeedKey(*feed.split(":"))._asdict()
        assert len(results[feed]) == exact.batches == scrape.total("marketdata_batches_total", **labels)
        messages = sum(result.batch_size for result in results[feed])
        assert messages == exact.messages == scrape.total("marketdata_messages_total", **labels)
        assert sum(result.unique_symbols for result in results[feed]) == exact.unique_sum
        assert scrape.total("marketdata_batch_unique_symbols_sum", **labels) == exact.unique_sum
        efficiency = math.fsum(result.cache_efficiency for result in results[feed])
        assert efficiency == pytest.approx(exact.efficiency_sum, abs=1e-9)


def test_last_values_of_every_feed_are_shown() -> None:
    analyzer = BatchAnalyzer()
    analyzer.analyze_batch(rows("A", "B"), timestamp_ms=STAMP_MS, **UPBIT)
    assert page(analyzer).total("marketdata_last_batch_size", **UPBIT) == 2
    assert page(analyzer).total("marketdata_feed_last_batch_timestamp_seconds", **UPBIT) == STAMP_MS / 1000


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"batch_data": None}, Reason.WRONG_TYPE),
        ({"batch_data": [{"symbol": "A"}]}, Reason.MISSING_FIELD),
        ({"batch_data": rows(7)}, Reason.WRONG_TYPE),
        ({"batch_data": rows("A", "B", "C", "D")}, Reason.TOO_MANY_MESSAGES),
        ({"batch_data": rows("A\nB")}, Reason.INVALID_SYMBOL),
        ({"batch_data": rows("\ud800")}, Reason.INVALID_SYMBOL),
        ({"region": None}, Reason.WRONG_TYPE),
        ({"exchange": "up:bit"}, Reason.INVALID_FEED),
        ({"timestamp_ms": -1}, Reason.INVALID_TIMESTAMP),
        ({"timestamp_ms": "now"}, Reason.WRONG_TYPE),
    ],
)
def test_a_batch_that_breaks_a_rule_is_rejected_and_counted_nowhere(changed: dict[str, Any], reason: Reason) -> None:
    analyzer = BatchAnalyzer(config={"input": {"limits": {"messages": 3}}})
    with pytest.raises(Rejected) as rejected:
        analyzer.analyze_batch(**{"batch_data": rows("A"), "timestamp_ms": STAMP_MS, **UPBIT, **changed})
    assert rejected.value.reason is reason
    assert page(analyzer).total("marketdata_batches_total") == 0


def test_a_row_whose_optional_stamp_cannot_be_read_makes_an_anomaly() -> None:
    analyzer = BatchAnalyzer()
    analyzer.analyze_batch([{"target_currency": "A", "timestamp": "yesterday"}], **UPBIT)
    assert page(analyzer).total("marketdata_anomalies_total", kind="unreadable_field") == 1


def test_an_unreadable_field_of_a_row_is_left_out_and_counted_by_name() -> None:
    """Of objects too, which may be NaN or read-only; numbers are read however they are written."""
    analyzer = BatchAnalyzer()
    stamped = [{"target_currency": "A", "timestamp": float(STAMP_MS), "last": Decimal("1.5"), "high": "1,234.5"}]
    odd = MappingProxyType({"target_currency": "B", "timestamp": "2025-10-09T17:33:19Z", "last": math.nan, "low": ""})
    for _ in range(2):
        result = analyzer.analyze_batch([*stamped, odd], timestamp_ms=STAMP_MS, **UPBIT)
    assert (result.batch_size, result.timestamp_ms) == (2, STAMP_MS)
    scrape = page(analyzer)
    fields = {one["field"]: one.value for one in scrape.series("marketdata_unreadable_fields_total")}
    assert set(fields) == set(FIELDS)
    assert {name: number for name, number in fields.items() if number} == {"last": 2, "low": 2}
    assert scrape.total("marketdata_anomalies_total", kind="unreadable_field") == 2
    assert scrape.total("marketdata_feed_last_message_timestamp_seconds") == STAMP_MS / 1000


def test_kinds_of_anomalies_are_switched_off_for_the_feeds_of_a_rule() -> None:
    """The first rule that matches a feed counts; what is counted by name stays."""
    rules = [{"feeds": ["korea:upbit:*"], "ignore_anomalies": ["invalid_price", "unreadable_field"]}]
    analyzer = BatchAnalyzer(config={"feeds": {"thresholds": rules}})
    bad = [{"target_currency": "A", "last": -1}, {"target_currency": "B", "last": "", "high": 1, "low": 2}]
    for exchange in ("upbit", "bithumb"):
        analyzer.analyze_batch(bad, **UPBIT | {"exchange": exchange})
    scrape = page(analyzer)
    assert scrape.total("marketdata_anomalies_total", exchange="upbit") == 0
    assert scrape.total("marketdata_anomalies_total", exchange="bithumb") == 2
    assert scrape.total("marketdata_unreadable_fields_total", exchange="upbit") == 1


def test_rows_at_hand_may_leave_out_prices_and_timestamps() -> None:
    """And levels of order books are not looked at here."""
    analyzer = BatchAnalyzer(config={"feeds": {"thresholds": [{"feeds": ["us:*"], "ignore_anomalies": []}]}})
    for region, kind in (("korea", "ticker"), ("us", "trade"), ("korea", "orderbook")):
        analyzer.analyze_batch([{"target_currency": "A", "asks": [[1, 2]]}], region, "upbit", kind)
    assert page(analyzer).total("marketdata_anomalies_total") == 0


def test_the_name_of_the_symbol_field_can_be_chosen() -> None:
    analyzer = BatchAnalyzer(symbol_field="market")
    assert analyzer.analyze_batch([{"market": "A"}, {"market": "B"}], **UPBIT).unique_symbols == 2


def test_a_wrong_configuration_raises_at_once() -> None:
    with pytest.raises(ConfigError, match=r"input\.limits\.messages"):
        BatchAnalyzer(config={"input": {"limits": {"messages": 0}}})


_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5)
_ROWS = st.fixed_dictionaries({}, optional=dict.fromkeys(("target_currency", "timestamp", "last"), _SCALARS))
_BATCHES = st.fixed_dictionaries(
    {"region": st.just("korea"), "exchange": st.just("upbit")},
    optional={
        "request_type": st.just("ticker") | _SCALARS,
        "timestamp_ms": st.just(STAMP_MS) | _SCALARS,
        "batch_size": st.integers(0, 3) | _SCALARS,
        "data": st.lists(_ROWS | st.just({"target_currency": "A"}), max_size=5) | _SCALARS,
    },
)


@given(_BATCHES)
def test_objects_are_read_as_their_text_would_be(value: dict[str, Any]) -> None:
    """The same batch, or a rejection for the same reason."""
    decoder = Decoder(Limits(messages=4))
    text = msgspec.json.encode(value)
    assert _outcome(decoder.convert, json.loads(text)) == _outcome(decoder.decode, text)


def _outcome(read: Any, value: object) -> tuple[str, object]:
    try:
        batch = read(value)
    except Rejected as rejected:
        return "rejected", rejected.reason
    rows = [(row.symbol, row.timestamp, row.last, row.high, row.low, row.price) for row in batch.data]
    head = (batch.exchange, batch.region, batch.request_type, batch.timestamp_ms, batch.batch_size)
    return type(batch).__name__, (head, rows)


def stored(server: RedisServer) -> list[SymbolStatistics]:
    """All symbols in Redis."""
    return listed(RedisStore(RedisConfig(url=server.url), StoreMetrics(CollectorRegistry())))


def test_symbols_of_several_programs_add_up_in_redis(redis_server: RedisServer) -> None:
    async def program() -> bytes:
        analyzer = BatchAnalyzer()
        await analyzer.setup_redis(redis_server.url)
        for _ in range(3):
            analyzer.analyze_batch(batch_data=rows("A", "B", "A"), timestamp_ms=STAMP_MS, **UPBIT)
        await analyzer.close()
        return analyzer.metrics()

    pages = [asyncio.run(program()) for _ in range(2)]
    assert [(row.feed, row.symbol, row.messages) for row in stored(redis_server)] == [
        (FeedKey(**UPBIT), "A", 12),
        (FeedKey(**UPBIT), "B", 6),
    ]
    assert b"marketdata_batches_total" in pages[0]


def test_redis_receives_user_and_password_literally(redis_server: RedisServer) -> None:
    """Not as parts of a URL, nor as references."""
    password = "ab+/c@d:${x}=="

    async def program() -> None:
        analyzer = BatchAnalyzer()
        await analyzer.setup_redis(redis_server.url, username="program", password=password)
        analyzer.analyze_batch(batch_data=rows("A"), **UPBIT)
        await analyzer.close()

    with redis_server.client() as client:
        client.acl_setuser("program", enabled=True, passwords=[f"+{password}"], keys=["*"], categories=["+@all"])
        asyncio.run(program())
        client.acl_deluser("program")
    assert [(row.symbol, row.messages) for row in stored(redis_server)] == [("A", 1)]


def test_analysis_continues_while_redis_is_unavailable() -> None:
    async def program() -> Counter[int]:
        analyzer = BatchAnalyzer()
        await analyzer.setup_redis(f"redis://127.0.0.1:{free_port()}/0")
        sizes = Counter(analyzer.analyze_batch(rows("A"), **UPBIT).batch_size for _ in range(5))
        assert page(analyzer).series("marketdata_redis_up")
        await analyzer.close()
        return sizes

    assert asyncio.run(program()) == {1: 5}


def test_an_invalid_address_of_redis_raises_at_once() -> None:
    with pytest.raises(ConfigError, match=r"redis\.url"):
        asyncio.run(BatchAnalyzer().setup_redis("http://localhost"))
    with pytest.raises(ConfigError, match=r"redis\.password: is given in redis.url, too"):
        asyncio.run(BatchAnalyzer().setup_redis("redis://:one@localhost", password="two"))


def test_importing_the_package_loads_no_client() -> None:
    """Each part loads its own."""
    code = "import sys, exporter, exporter.model; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert not {"confluent_kafka", "aiohttp", "redis", "fastavro"} & set(done.stdout.split())


def test_the_package_lists_its_public_names() -> None:
    import exporter

    assert {"BatchAnalyzer", "BatchPerformanceMonitor", "BatchMonitoringProducer"} <= set(dir(exporter))
    assert all(getattr(exporter, name).__name__ == name for name in exporter.__all__)
    with pytest.raises(AttributeError, match="Nothing"):
        exporter.Nothing  # type: ignore[attr-defined]  # noqa: B018


def test_the_package_has_the_version_that_is_installed() -> None:
    import exporter

    assert exporter.__version__ == metadata.version("marketdata-exporter")
