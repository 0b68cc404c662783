"""Whatever a record holds, a format gives a batch, or a rejection that names what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.decoding.batch import NO_JSON, Batch, Message, PartialBatch
from exporter.decoding.formats.formats import Formats
from exporter.model import FeedKey, Reason, Rejected
from tests.support.formats import KAFKA_MS, reader, record
from tests.support.poison import BIG
from tests.test_json_decoder import ANY_JSON

SECONDS = 1_700_000_000.25
MILLISECONDS = 1_700_000_000_250
FEED = {"region": "global", "exchange": {"field": "exchange", "case": "lower"}, "request_type": {"field": "kind"}}
TICK: dict[str, Any] = {
    "topics": "t",
    "feed": FEED,
    "time": {"field": "at", "unit": "s"},
    "row": {
        "symbol": "sym",
        "timestamp": {"field": "ts", "unit": "s"},
        "last": ["c", "k.c"],
        "price": {"field": "p", "only": "trade"},
        "asks": ["delta.ask", "book.ask"],
        "bids": ["delta.bid", "book.bid"],
    },
    "skip": {"kind": ["pong", "status"]},
}
RECORD: dict[str, Any] = {"exchange": "UPBIT", "kind": "trade", "at": SECONDS, "sym": "A", "ts": SECONDS, "p": 1.5}
ROWS: dict[str, Any] = {
    "topics": "t",
    "rows": "data",
    "batch_size": "n",
    "feed": FEED,
    "time": "at",
    "row": {"symbol": "sym", "timestamp": "ts", "last": "c"},
}
ROW = {"sym": "A", "ts": MILLISECONDS, "c": 2.5}
MANY: dict[str, Any] = {"exchange": "x", "kind": "ticker", "at": MILLISECONDS, "n": 2, "data": [ROW, ROW]}


def _by_unit(symbol: object) -> dict[str, Formats]:
    units = ("s", "ms", "us", "ns")
    return {
        unit: reader(ROWS | {"row": {"symbol": symbol, "timestamp": {"field": "ts", "unit": unit}, "last": "c"}})
        for unit in units
    }


AT_ONCE, TOGETHER = _by_unit("sym"), _by_unit({"field": "sym", "map": {"x": "y"}})


def batch(formats: Formats, value: object, key: bytes | None = None, topic: str = "t", **headers: str) -> Batch:
    found = formats.read(record(value, topic, key, **headers))
    assert found is not None
    return found


def only(formats: Formats, value: object, key: bytes | None = None, topic: str = "t", **headers: str) -> Message:
    (row,) = batch(formats, value, key, topic, **headers).data
    return row


def rejected(formats: Formats, value: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        formats.read(record(value))
    assert 0 < len(caught.value.detail) <= 200
    return caught.value


def without(value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: inner for name, inner in value.items() if name not in names}


# Fields.


def test_a_tick_is_a_batch_of_one_row() -> None:
    found = batch(reader(TICK), RECORD)
    assert (found.region, found.exchange, found.request_type) == ("global", "upbit", "trade")
    assert found.timestamp_ms == MILLISECONDS
    (row,) = found.data
    assert (row.symbol, row.timestamp, row.price, row.last) == ("A", MILLISECONDS, 1.5, None)


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("s", 1_700_000_000.25),
        ("ms", 1_700_000_000_250),
        ("us", 1_700_000_000_250_000),
        ("ns", 1_700_000_000_250_000_000),
        ("iso8601", "2023-11-14T22:13:20.250Z"),
        ("iso8601", "2023-11-15T07:13:20.250+09:00"),
    ],
)
def test_times_are_read_in_their_unit(unit: str, value: object) -> None:
    formats = reader(
        TICK
        | {"time": {"field": "at", "unit": unit}, "row": {"symbol": "sym", "timestamp": {"field": "ts", "unit": unit}}}
    )
    found = batch(formats, RECORD | {"at": value, "ts": value})
    assert found.timestamp_ms == found.data[0].timestamp == MILLISECONDS


@pytest.mark.parametrize("unit", ["s", "us", "iso8601"])
def test_a_time_of_a_row_that_cannot_be_read_costs_the_row_its_time(unit: str) -> None:
    formats = reader(TICK | {"row": {"symbol": "sym", "timestamp": {"field": "ts", "unit": unit}}})
    found = batch(formats, RECORD | {"ts": "soon"})
    assert isinstance(found, PartialBatch)
    assert (found.unreadable, found.data[0].timestamp) == ({"timestamp": 1}, None)
    assert only(formats, without(RECORD, "ts")).timestamp == 0
    assert only(formats, RECORD | {"ts": None}).timestamp is None


def test_a_number_in_place_of_an_iso_time_is_not_read() -> None:
    formats = reader(TICK | {"row": {"symbol": "sym", "timestamp": {"field": "ts", "unit": "iso8601"}}})
    assert batch(formats, RECORD | {"ts": 5}).unreadable == {"timestamp": 1}  # type: ignore[attr-defined]


def test_a_batch_without_a_time_of_its_own_has_kafkas() -> None:
    assert batch(reader(without(TICK, "time")), RECORD).timestamp_ms == KAFKA_MS
    assert batch(reader(TICK | {"time": {"kafka": True}}), RECORD).timestamp_ms == KAFKA_MS


def test_the_time_of_a_batch_may_be_that_of_its_newest_row() -> None:
    formats = reader(ROWS | {"time": {"row": "newest"}})
    assert batch(formats, MANY | {"data": [ROW, ROW | {"ts": 7}]}).timestamp_ms == MILLISECONDS
    assert batch(formats, MANY | {"data": [{"sym": "A"}]}).timestamp_ms == KAFKA_MS


def test_of_alternatives_the_first_that_is_there_counts() -> None:
    formats = reader(TICK)
    ticker = RECORD | {"kind": "ticker"}
    assert only(formats, ticker | {"c": 1, "k": {"c": 2}}).last == 1
    assert only(formats, ticker | {"k": {"c": 2}}).last == 2
    assert only(formats, ticker | {"c": None, "k": {"c": 2}}).last == 2
    assert only(formats, ticker | {"c": 0, "k": {"c": 2}}).last == 0
    assert only(formats, ticker | {"k": None}).last is None


def test_a_field_for_some_request_types_is_read_for_these_only() -> None:
    formats = reader(TICK)
    assert only(formats, RECORD).price == 1.5
    assert only(formats, RECORD | {"kind": "ticker"}).price is None
    assert only(formats, RECORD | {"kind": "ticker", "p": "?"}).price is None


def test_names_of_the_usual_rows_mean_nothing_unless_they_are_mapped() -> None:
    row = only(reader(TICK), RECORD | {"last": 7, "high": "?", "units": [1], "symbol": 5, "timestamp": 1})
    assert (row.last, row.high, row.units, row.symbol) == (None, None, NO_JSON, "A")


def test_words_come_from_the_topic_the_key_and_headers() -> None:
    texts = {
        "topics": r"^ticks\.(?P<exchange>[a-z]+)\.(?P<symbol>.+)$",
        "feed": {
            "region": {"header": "region", "default": "earth"},
            "exchange": {"topic": "exchange", "map": {"bfx": "bitfinex"}},
            "request_type": {"key": r"^[^|]+[|](.+)$", "case": "lower"},
        },
        "row": {"symbol": {"topic": "symbol", "case": "upper"}},
    }
    found = batch(reader(texts), {}, b"a|TRADE", "ticks.bfx.btc-usd", region="eu")
    assert FeedKey(found.region, found.exchange, found.request_type) == ("eu", "bitfinex", "trade")
    assert found.data[0].symbol == "BTC-USD"
    assert batch(reader(texts), {}, b"a|TRADE", "ticks.bfx.btc-usd").region == "earth"
    default = reader(TICK | {"feed": FEED | {"request_type": {"field": "kind", "default": "tick"}}})
    for value in (RECORD | {"kind": None}, without(RECORD, "kind"), RECORD | {"kind": None, "p": "x"}):
        assert batch(default, value).request_type == "tick"
    with pytest.raises(Rejected, match="missing_field: missing required key of that form"):
        reader(texts).read(record({}, "ticks.bfx.btc", b"TRADE"))


def test_rows_have_no_fields_but_those_that_are_mapped() -> None:
    rows = [ROW | {"last": 7, "price": 8, "high": "?", "units": [1], "symbol": 5, "timestamp": 1, "asks": 5}]
    for config in (ROWS, ROWS | {"text_rows": True}):
        data = rows if config is ROWS else [json.dumps(row) for row in rows]
        found = batch(reader(config), MANY | {"data": data})
        (row,) = found.data
        assert not isinstance(found, PartialBatch)
        assert (row.symbol, row.timestamp, row.last, row.price, row.high) == ("A", MILLISECONDS, 2.5, None, None)
        assert row.asks is row.units is NO_JSON


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@given(stamps=st.lists(st.none() | st.integers(0, 2**60) | st.floats(0, 1e18)), missing=st.booleans())
def test_rows_that_are_read_at_once_are_those_that_are_put_together(
    unit: str, stamps: list[float | None], missing: bool
) -> None:
    rows = [{"sym": f"S{number}", "ts": stamp, "c": 1.5} for number, stamp in enumerate(stamps)]
    rows += [{"sym": "A"}] if missing else []
    value = MANY | {"data": rows}
    at_once, together = (
        [(row.symbol, row.timestamp, row.last) for row in batch(formats[unit], value).data]
        for formats in (AT_ONCE, TOGETHER)
    )
    assert at_once == together


def test_rows_are_read_from_their_path() -> None:
    found = batch(reader(ROWS), MANY)
    assert [(row.symbol, row.timestamp, row.last) for row in found.data] == [("A", MILLISECONDS, 2.5)] * 2
    assert found.batch_size == 2
    assert batch(reader(ROWS), MANY | {"data": []}).data == []


def test_a_record_may_be_the_list_of_its_rows() -> None:
    feed = {"region": "a", "exchange": "b", "request_type": "c"}
    formats = reader(without(ROWS, "batch_size") | {"rows": "[]", "feed": feed, "time": {"row": "newest"}})
    assert [row.symbol for row in batch(formats, [ROW, ROW]).data] == ["A", "A"]
    assert rejected(formats, {"a": 1}).reason is Reason.WRONG_TYPE
    assert str(rejected(formats, {}).feed) == "a:b:c"
    assert "at `$[1].sym`" in rejected(formats, [ROW, ROW | {"sym": 1}]).detail


def test_rows_may_be_arrays() -> None:
    formats = reader(ROWS | {"array": ["ts", "_", "sym", "c"]})
    rows = [[MILLISECONDS, {}, "A", 2.5, "more"], [MILLISECONDS, None, "B"]]
    assert [(row.symbol, row.last) for row in batch(formats, MANY | {"data": rows}).data] == [("A", 2.5), ("B", None)]
    partial = batch(formats, MANY | {"data": [[1, 2, "A", "?"]]})
    assert partial.unreadable == {"last": 1}  # type: ignore[attr-defined]
    assert "`sym`" in rejected(formats, MANY | {"data": [[1]]}).detail


def test_a_record_may_be_an_array() -> None:
    names = ["version", "sym", "ts", "p", "exchange", "kind", "at"]
    formats = reader(TICK | {"array": names, "row": {"symbol": "sym", "price": "p"}})
    row = only(formats, [1, "A", 0, 1.5, "upbit", "trade", SECONDS])
    assert (row.symbol, row.price) == ("A", 1.5)


def test_rows_may_be_json_in_texts() -> None:
    formats = reader(ROWS | {"text_rows": True})
    texts = [json.dumps(ROW), json.dumps(ROW | {"c": "?"})]
    found = batch(formats, MANY | {"data": texts})
    assert [row.last for row in found.data] == [2.5, None]
    assert "data[0]" in rejected(formats, MANY | {"data": ["{}"]}).detail
    nested = '{"sym":"A","x":' + "[" * 40 + "]" * 40 + "}"
    assert rejected(formats, MANY | {"data": [nested]}).reason is Reason.TOO_DEEP


def test_control_messages_are_no_batches() -> None:
    formats = reader(TICK | {"skip": {"kind": ["pong"], "ok": [True], "error": "*"}})
    for value in ({"kind": "pong"}, {"ok": True}, {"error": {"code": 1}}, {"error": None}, RECORD | {"kind": "pong"}):
        assert formats.read(record(value)) is None
    assert only(formats, RECORD | {"ok": False}).symbol == "A"


@pytest.mark.parametrize(
    ("side", "first"),
    [
        ({"126.5": 688.6, "127": 1}, ["126.5", 688.6]),
        ([[126.5, 1], [127, 1]], [126.5, 1]),
        ([{"price": 126.5, "qty": "3"}], [126.5, "3"]),
        ([{"amount": 3, "price": "126.5"}], ["126.5", 3]),
        (126.5, [126.5, 1]),
        ("126.5", ["126.5", 1]),
    ],
)
@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_sides_of_books_are_lists_objects_and_best_prices(side: object, first: list[object], encoding: str) -> None:
    value = RECORD | {"book": {"ask": side, "bid": {}}, "delta": None}
    body = json.dumps(value).encode() if encoding == "json" else msgspec.msgpack.encode(value)
    row = only(reader(TICK | {"encoding": encoding}), body)
    assert msgspec.json.decode(row.asks)[0] == first
    assert msgspec.json.decode(row.bids) == []


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_sides_and_units_of_rows_are_json_whatever_they_were(encoding: str) -> None:
    mapped = {"symbol": "sym", "asks": "a", "bids": "b", "units": "u"}
    formats = reader(without(ROWS, "time") | {"encoding": encoding, "row": mapped})
    units = [{"ask_price": 2.0, "bid_price": 1.0}]
    value = MANY | {"data": [{"sym": "A", "a": {"2": 1}, "b": [], "u": units}, {"sym": "B", "a": None}]}
    first, second = batch(
        formats, json.dumps(value).encode() if encoding == "json" else msgspec.msgpack.encode(value)
    ).data
    assert [msgspec.json.decode(side) for side in (first.asks, first.bids, first.units)] == [[["2", 1]], [], units]
    assert (bytes(second.asks), second.bids, second.units) == (b"null", NO_JSON, NO_JSON)


def test_numbers_that_are_texts_are_read_in_one_go_or_with_care() -> None:
    for numbers in ("text", "strict"):
        formats = reader(TICK | {"numbers": numbers})
        assert only(formats, RECORD | {"p": "1.25"}).price == 1.25
        assert only(formats, RECORD | {"p": "1,250.5"}).price == 1250.5
        partial = batch(formats, RECORD | {"p": "x"})
        assert partial.unreadable == {"price": 1}  # type: ignore[attr-defined]


# Rejections.

REQUIRED = [("exchange", Reason.MISSING_FIELD), ("kind", Reason.MISSING_FIELD), ("at", Reason.MISSING_FIELD)]


@pytest.mark.parametrize("field", ["exchange", "kind", "at", "sym"])
@pytest.mark.parametrize("numbers", ["text", "strict"])
def test_a_rejection_names_the_field(field: str, numbers: str) -> None:
    formats = reader(TICK | {"numbers": numbers})
    missing = rejected(formats, without(RECORD, field))
    assert missing.reason is Reason.MISSING_FIELD
    assert f"`{field}`" in missing.detail
    wrongs: tuple[object, ...] = ([], {}, True)
    for wrong in wrongs:
        found = rejected(formats, RECORD | {field: wrong})
        assert found.reason is Reason.WRONG_TYPE
        assert f"`$.{field}`" in found.detail


def test_a_rejection_of_a_row_names_the_row() -> None:
    found = rejected(reader(ROWS), MANY | {"data": [ROW, {"ts": 1}]})
    assert (found.reason, found.detail) == (Reason.MISSING_FIELD, "missing required field `sym` - at `$.data[1]`")
    assert str(found.feed) == "global:x:ticker"
    assert "`$.data[0]`" in rejected(reader(ROWS), MANY | {"data": [5]}).detail
    assert "`data`" in rejected(reader(ROWS), without(MANY, "data")).detail
    assert "`$.data`" in rejected(reader(ROWS), MANY | {"data": {}}).detail


def test_a_rejection_of_a_nested_field_names_its_path() -> None:
    formats = reader(TICK | {"row": {"symbol": "data.s"}})
    assert "`data.s`" in rejected(formats, RECORD).detail
    assert "`data.s`" in rejected(formats, RECORD | {"data": None}).detail
    assert "`$.data`" in rejected(formats, RECORD | {"data": 5}).detail
    assert "`$.data.s`" in rejected(formats, RECORD | {"data": {"s": 5}}).detail


@pytest.mark.parametrize("time", [-1, 1e300, 2**64])
def test_a_time_beyond_all_calendars_is_rejected(time: float) -> None:
    assert rejected(reader(TICK), RECORD | {"at": time}).reason is Reason.INVALID_TIMESTAMP


def tick(extra: bytes) -> bytes:
    return json.dumps(RECORD).encode()[:-1] + b"," + extra + b"}"


HOSTILE = [
    pytest.param(None, Reason.EMPTY, id="tombstone"),
    pytest.param(b"", Reason.EMPTY, id="no bytes"),
    pytest.param(b"[" * BIG, Reason.TOO_LARGE, id="too large"),
    pytest.param(tick(b'"a":' + b"[" * 5000 + b"]" * 5000), Reason.TOO_DEEP, id="5000 levels"),
    pytest.param(tick(b'"a":' + b"[" * 100_000), Reason.TOO_DEEP, id="100000 levels, cut off"),
    pytest.param(tick(b'"a":' + b"[" * 32 + b"]" * 32), Reason.TOO_DEEP, id="one level too deep"),
    pytest.param(tick(b'"a":' + b"[" * 31 + b"]" * 31), None, id="as deep as allowed"),
    pytest.param(tick(b'"a":"' + b"[" * 5000 + b'"'), None, id="brackets in a text"),
    pytest.param(b"\xff" * 1000, Reason.INVALID_JSON, id="no text"),
    pytest.param(tick(b'"exchange":"\xff"'), Reason.INVALID_UTF8, id="not UTF-8"),
    pytest.param(json.dumps(RECORD).encode()[:-5], Reason.INVALID_JSON, id="cut off"),
    pytest.param(b"\xef\xbb\xbf" + json.dumps(RECORD).encode(), None, id="byte order mark"),
    pytest.param(json.dumps(RECORD).encode("utf-16"), Reason.INVALID_JSON, id="UTF-16"),
    pytest.param(tick(b'"p":NaN'), None, id="NaN"),
    pytest.param(tick(b'"x":-Infinity'), None, id="Infinity elsewhere"),
    pytest.param(tick(b'"sym":NaN'), Reason.WRONG_TYPE, id="symbol is NaN"),
    pytest.param(tick(b'"at":1e400'), Reason.WRONG_TYPE, id="time is 1e400"),
    pytest.param(tick(b'"at":' + b"9" * 5000), Reason.WRONG_TYPE, id="time of 5000 digits"),
    pytest.param(tick(b'"p":' + b"9" * 900_000), None, id="900000 digits"),
    pytest.param(tick(b'"p":"' + b"9," * 450_000 + b'"'), None, id="900000 digits as text"),
    pytest.param(tick(b",".join([b'"p":5e-310'] * 20_000)), None, id="long exponents"),
    pytest.param(tick(b'"k":' + b'{"c":' * 20 + b"1" + b"}" * 20), None, id="objects in place of a number"),
    pytest.param(tick(rb'"sym":"\ud800"'), Reason.INVALID_JSON, id="lone surrogate"),
    pytest.param(b"[]", Reason.WRONG_TYPE, id="list"),
    pytest.param(b"1e400", Reason.WRONG_TYPE, id="number"),
    pytest.param(b"null", Reason.WRONG_TYPE, id="null"),
    pytest.param(tick(b'"book":{"ask":' + b'{"1":' * 20 + b"1" + b"}" * 20 + b"}"), None, id="book of books"),
]


@pytest.mark.parametrize("numbers", ["text", "strict"])
@pytest.mark.parametrize(("value", "reason"), HOSTILE)
def test_hostile_records_have_their_fate(value: bytes | None, reason: Reason | None, numbers: str) -> None:
    formats = reader(TICK | {"numbers": numbers})
    if reason is None:
        assert only(formats, value).symbol == "A"
    else:
        assert rejected(formats, value).reason is reason


def test_too_many_rows_are_rejected() -> None:
    for formats in (reader(ROWS, messages=2), reader(ROWS | {"text_rows": True}, messages=2)):
        assert rejected(formats, MANY | {"data": ["{}"] * 3}).reason in (Reason.TOO_MANY_MESSAGES, Reason.WRONG_TYPE)
    assert rejected(reader(ROWS, messages=2), MANY | {"data": [ROW] * 3}).reason is Reason.TOO_MANY_MESSAGES


def test_bytes_that_are_no_message_pack_are_told() -> None:
    formats = reader(TICK | {"encoding": "msgpack"})
    assert only(formats, msgspec.msgpack.encode(RECORD)).price == 1.5
    for value in (b"\xc1", msgspec.msgpack.encode(RECORD)[:-3], b"\x81" * 2000):
        assert rejected(formats, value).reason in (Reason.INVALID_ENCODING, Reason.TOO_DEEP)
    assert "`$.sym`" in rejected(formats, msgspec.msgpack.encode(RECORD | {"sym": 5})).detail
    assert batch(formats, msgspec.msgpack.encode(RECORD | {"p": math.nan})).unreadable == {"price": 1}  # type: ignore[attr-defined]


# Properties.

NAMES = ["exchange", "kind", "at", "sym", "ts", "c", "k", "p", "delta", "book", "n", "data", "x"]
READERS = {
    (name, encoding): reader(config | {"encoding": encoding, "numbers": numbers})
    for name, config in (("tick", TICK), ("rows", ROWS))
    for encoding, numbers in (("json", "text"), ("msgpack", "strict"))
}


def orders(value: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.permutations(list(value.items())).map(dict)


@given(value=orders(RECORD))
def test_fields_are_read_in_any_order(value: dict[str, Any]) -> None:
    assert only(READERS["tick", "json"], value).price == 1.5
    assert only(READERS["tick", "msgpack"], msgspec.msgpack.encode(value)).price == 1.5


@given(change=st.dictionaries(st.sampled_from(NAMES), ANY_JSON), missing=st.sets(st.sampled_from(NAMES)))
def test_any_change_of_a_record_gives_a_batch_or_a_reason_with_the_field(
    change: dict[str, Any], missing: set[str]
) -> None:
    for name, whole in (("tick", RECORD), ("rows", MANY)):
        value = without(whole | change, *missing)
        suspects = {*change, *missing}
        assert _is_decided(READERS[name, "json"], json.dumps(value).encode(), suspects)
        if -(2**63) <= _largest(value) < 2**64:
            assert _is_decided(READERS[name, "msgpack"], msgspec.msgpack.encode(value), suspects)


@given(row=st.dictionaries(st.sampled_from(NAMES), ANY_JSON))
def test_any_row_gives_a_batch_or_a_reason_with_the_row(row: dict[str, Any]) -> None:
    value = json.dumps(MANY | {"data": [ROW, ROW | row]}).encode()
    assert _is_decided(READERS["rows", "json"], value, {"data[1]"})


def _is_decided(formats: Formats, value: bytes, suspects: set[str]) -> bool:
    try:
        found = formats.read(record(value))
    except Rejected as why:
        is_general = why.reason in (Reason.TOO_DEEP, Reason.INVALID_TIMESTAMP, Reason.INVALID_JSON)
        return is_general or any(name in why.detail for name in suspects)
    return found is None or all(_is_sound(row) for row in found.data)


def _is_sound(row: Message) -> bool:
    """Whether a row has the types on which all that follows relies."""
    numbers = (row.timestamp, row.last, row.high, row.low, row.price)
    sides: tuple[object, ...] = row.asks, row.bids, row.units
    is_text = type(row.symbol) is str and all(type(side) is msgspec.Raw for side in sides)
    return is_text and all(number is None or math.isfinite(number) for number in numbers)


def _largest(value: object) -> int:
    """Return the whole number that is farthest from 0."""
    if isinstance(value, dict):
        return max((_largest(each) for each in value.values()), key=abs, default=0)
    if isinstance(value, list):
        return max(map(_largest, value), key=abs, default=0)
    return value if type(value) is int else 0


@given(value=st.binary(max_size=64))
@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_any_bytes_are_a_batch_or_rejected(encoding: str, value: bytes) -> None:
    for name in ("tick", "rows"):
        assert _is_decided(READERS[name, encoding], value, {""})
