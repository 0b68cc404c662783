"""Whatever bytes come in, the decoder gives a batch or a rejection that says why."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.batch import LEVELS, MAX_TIMESTAMP_MS, NO_JSON, PRICES, Batch, Message, PartialBatch
from exporter.codec import Decoder
from exporter.configuration.config import Limits
from exporter.decoding.nesting import is_deeper_than
from exporter.model import Reason, Rejected

BATCH: dict[str, Any] = {
    "exchange": "upbit",
    "region": "korea",
    "request_type": "ticker",
    "timestamp_ms": 1_760_031_213_693,
    "batch_size": 2,
    "data": [{"target_currency": "KRW-BTC", "timestamp": 1_760_031_199_778}, {"target_currency": "KRW-ETH"}],
}
# Of a batch without rows; what is put in place of the mark is one more field.
ENVELOPE = b'{"exchange":"upbit","region":"korea","request_type":"ticker","timestamp_ms":1,"data":[]@}'


def encoded(**fields: object) -> bytes:
    """A good batch with some fields replaced."""
    return json.dumps(BATCH | fields).encode()


def without(field: str) -> bytes:
    return json.dumps({name: value for name, value in BATCH.items() if name != field}).encode()


def row(text: bytes) -> bytes:
    """A batch with one row, whose fields are `text`."""
    return ENVELOPE.replace(b"[]@", b"[{" + text + b"}]")


def extra(text: bytes) -> bytes:
    """A batch with one more field, given as it stands in the JSON."""
    return ENVELOPE.replace(b"@", b"," + text)


def decode(value: bytes | None, symbol_field: str = "target_currency", /, **limits: int) -> Batch:
    return Decoder(Limits(**limits), symbol_field).decode(value)


def reason(value: bytes | None, **limits: int) -> Reason:
    """Why the record is rejected."""
    with pytest.raises(Rejected) as caught:
        decode(value, **limits)
    assert 0 < len(caught.value.detail) <= 200
    return caught.value.reason


def height(value: object) -> int:
    """How deep arrays and objects lie in each other."""
    if isinstance(value, dict):
        return 1 + max(map(height, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(height, value), default=0)
    return 0


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text('[]{}"\\,:\n')
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
)


def test_a_batch_is_read_with_the_fields_that_are_needed() -> None:
    batch = decode(encoded(unknown={"a": [1]}))
    assert (batch.region, batch.exchange, batch.request_type) == ("korea", "upbit", "ticker")
    assert (batch.timestamp_ms, batch.batch_size) == (1_760_031_213_693, 2)
    assert [(row.symbol, row.timestamp) for row in batch.data] == [("KRW-BTC", 1_760_031_199_778), ("KRW-ETH", 0)]
    assert not isinstance(batch, PartialBatch)


def test_a_row_is_read_as_far_as_its_kind_goes() -> None:
    rows = [
        {"target_currency": "A", "first": "?", "last": 3, "high": 4.5, "low": 2.5},
        {"target_currency": "B", "price": 7, "side": "BID", "last": None},
        {"target_currency": "C", "asks": [["1.5", "2"]], "bids": [], "units": None},
    ]
    ticker, trade, book = decode(encoded(data=rows)).data
    assert (ticker.last, ticker.high, ticker.low, ticker.price) == (3.0, 4.5, 2.5, None)
    assert (trade.last, trade.price) == (None, 7.0)
    assert [bytes(side) for side in (book.asks, book.bids, book.units)] == [b'[["1.5", "2"]]', b"[]", b"null"]
    assert all(side is NO_JSON for row in (ticker, trade) for side in (row.asks, row.bids, row.units))


def test_plain_objects_have_no_levels_and_no_stamp_that_is_no_number() -> None:
    """Levels are kept as JSON, and JSON has no NaN."""
    rows = [{"target_currency": "A", "timestamp": 5, "price": 1.5, "asks": [[1, 2]], "bids": 3, "units": "x"}]
    (row,) = Decoder(Limits()).convert(BATCH | {"data": rows}).data
    assert (row.timestamp, row.price) == (5, 1.5)
    assert row.asks is row.bids is row.units is NO_JSON
    partial = Decoder(Limits()).convert(BATCH | {"data": [{"target_currency": "A", "timestamp": float("nan")}]})
    assert unreadable(partial) == {"timestamp": 1}
    assert partial.data[0].timestamp is None


REJECTED = [
    pytest.param(None, Reason.EMPTY, id="tombstone"),
    pytest.param(b"", Reason.EMPTY, id="no bytes"),
    pytest.param(b" " * (2**20 + 1), Reason.TOO_LARGE, id="more than a MiB"),
    pytest.param(b" ", Reason.INVALID_JSON, id="blank"),
    pytest.param(encoded()[:-1], Reason.INVALID_JSON, id="truncated"),
    pytest.param(encoded() + b"x", Reason.INVALID_JSON, id="something after the end"),
    pytest.param(b"\xef\xbb\xbf" * 2 + encoded(), Reason.INVALID_JSON, id="two byte order marks"),
    pytest.param(encoded().decode().encode("utf-16"), Reason.INVALID_JSON, id="UTF-16"),
    pytest.param(extra(b'"a":1NaN'), Reason.INVALID_JSON, id="NaN after a digit"),
    pytest.param(extra(b'"a":NaN1'), Reason.INVALID_JSON, id="NaN before a digit"),
    pytest.param(extra(b"NaN:1"), Reason.INVALID_JSON, id="NaN for a key"),
    pytest.param(extra(b'"a":NaN') + b"x", Reason.INVALID_JSON, id="NaN and another fault"),
    pytest.param(extra(b'"region":"a\nb"'), Reason.INVALID_JSON, id="raw newline in a text"),
    pytest.param(row(rb'"target_currency":"\ud800"'), Reason.INVALID_JSON, id="lone surrogate"),
    pytest.param(extra(rb'"\udc00":1'), Reason.INVALID_JSON, id="lone surrogate in an ignored key"),
    pytest.param(extra(b'"region":"\xff"'), Reason.INVALID_UTF8, id="not UTF-8 in a feed"),
    pytest.param(row(b'"target_currency":"\xc3"'), Reason.INVALID_UTF8, id="half a character"),
    pytest.param(extra(b'"a":' + b"[" * 5000 + b"]" * 5000), Reason.TOO_DEEP, id="5000 levels"),
    pytest.param(extra(b'"a":' + b"[" * 5000), Reason.TOO_DEEP, id="5000 levels, truncated"),
    pytest.param(row(b'"a":' + b'{"a":' * 5000), Reason.TOO_DEEP, id="5000 levels in a row"),
    pytest.param(extra(b'"a":' + b"[" * 32 + b"]" * 32), Reason.TOO_DEEP, id="one level too deep"),
    pytest.param(b"{}", Reason.MISSING_FIELD, id="no field at all"),
    *[pytest.param(without(name), Reason.MISSING_FIELD, id=f"no {name}") for name in BATCH if name != "batch_size"],
    pytest.param(row(b""), Reason.MISSING_FIELD, id="row without symbol"),
    pytest.param(row(b'"symbol":"A"'), Reason.MISSING_FIELD, id="symbol under the name of the struct's field"),
    pytest.param(encoded(batch_size="x", data=[{}]), Reason.MISSING_FIELD, id="unreadable and incomplete"),
    pytest.param(b"[" + encoded() + b"]", Reason.WRONG_TYPE, id="list of batches"),
    pytest.param(b"null", Reason.WRONG_TYPE, id="null"),
    pytest.param(encoded(data={}), Reason.WRONG_TYPE, id="data is an object"),
    pytest.param(encoded(data=[None]), Reason.WRONG_TYPE, id="row is null"),
    pytest.param(encoded(region=None), Reason.WRONG_TYPE, id="region is null"),
    pytest.param(encoded(region=math.nan), Reason.WRONG_TYPE, id="region is NaN"),
    pytest.param(encoded(data=math.nan), Reason.WRONG_TYPE, id="data is NaN"),
    pytest.param(encoded(data=[math.nan]), Reason.WRONG_TYPE, id="row is NaN"),
    pytest.param(encoded(timestamp_ms=math.nan), Reason.WRONG_TYPE, id="timestamp is NaN"),
    pytest.param(encoded(data=[{"target_currency": math.nan}]), Reason.WRONG_TYPE, id="symbol is NaN"),
    pytest.param(row(b'"target_currency":5'), Reason.WRONG_TYPE, id="symbol is a number"),
    pytest.param(encoded(timestamp_ms="now"), Reason.WRONG_TYPE, id="timestamp is text"),
    pytest.param(encoded(timestamp_ms=True), Reason.WRONG_TYPE, id="timestamp is a boolean"),
    pytest.param(encoded(timestamp_ms=1.5), Reason.WRONG_TYPE, id="timestamp is a fraction"),
    pytest.param(extra(b'"timestamp_ms":1e400'), Reason.WRONG_TYPE, id="timestamp is 1e400"),
    pytest.param(extra(b'"timestamp_ms":' + b"9" * 5000), Reason.WRONG_TYPE, id="timestamp of 5000 digits"),
    pytest.param(encoded(timestamp_ms=-1), Reason.INVALID_TIMESTAMP, id="before 1970"),
    pytest.param(encoded(timestamp_ms=2**64), Reason.INVALID_TIMESTAMP, id="timestamp is 2^64"),
    pytest.param(extra(b'"timestamp_ms":' + b"9" * 300), Reason.INVALID_TIMESTAMP, id="timestamp of 300 digits"),
    pytest.param(extra(b'"timestamp_ms":1e300'), Reason.INVALID_TIMESTAMP, id="timestamp is 1e300"),
    pytest.param(encoded(timestamp_ms=MAX_TIMESTAMP_MS + 1), Reason.INVALID_TIMESTAMP, id="year 10000"),
    pytest.param(row(b"},{".join([b'"target_currency":"A"'] * 10_001)), Reason.TOO_MANY_MESSAGES, id="10001 rows"),
]


@pytest.mark.parametrize(("value", "expected"), REJECTED)
def test_what_is_no_batch_is_rejected_with_its_reason(value: bytes | None, expected: Reason) -> None:
    assert reason(value) is expected


def test_every_reason_is_met_that_a_decoder_can_give() -> None:
    """The others are given by those who know feeds and symbols."""
    later = {Reason.INVALID_FEED, Reason.INVALID_SYMBOL, Reason.TOO_MANY_FEEDS, Reason.TOO_MANY_SYMBOLS}
    assert {param.values[1] for param in REJECTED} == set(Reason) - later


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(extra(b'"a":1e400'), id="1e400 ignored"),
        pytest.param(extra(b'"a":' + b"9" * 5000), id="5000 digits ignored"),
        pytest.param(extra(b'"a":"\xff"'), id="not UTF-8 ignored"),
        pytest.param(extra(b'"\xff":1'), id="not UTF-8 in an ignored key"),
        pytest.param(extra(b'"a":' + b"[" * 31 + b"]" * 31), id="exactly as deep as allowed"),
        pytest.param(extra(b'"a":"' + b"[" * 5000 + b'"'), id="brackets in a text"),
        pytest.param(encoded(timestamp_ms=0), id="first millisecond"),
        pytest.param(encoded(timestamp_ms=MAX_TIMESTAMP_MS), id="last millisecond"),
        pytest.param(encoded(data=[]), id="no rows"),
        pytest.param(b"\n\t " + encoded() + b"\r\n", id="blanks around it"),
    ],
)
def test_what_nobody_reads_does_no_harm(value: bytes) -> None:
    assert not isinstance(decode(value), PartialBatch)


def test_each_limit_allows_what_it_names_and_nothing_beyond() -> None:
    value = encoded()
    decode(value, record_bytes=len(value))
    assert reason(value, record_bytes=len(value) - 1) is Reason.TOO_LARGE
    decode(value, messages=2)
    assert reason(value, messages=1) is Reason.TOO_MANY_MESSAGES
    decode(value, depth=3)
    assert reason(value, depth=2) is Reason.TOO_DEEP
    decode(ENVELOPE.replace(b"@", b""), depth=2)


@given(tree=ANY_JSON, in_row=st.booleans(), depth=st.integers(1, 8), ascii_only=st.booleans())
def test_depth_is_that_of_the_value_whatever_its_texts_hold(
    tree: object, in_row: bool, depth: int, ascii_only: bool
) -> None:
    rows = [{"target_currency": "A", "extra": tree}] if in_row else []
    batch = BATCH | {"data": rows} | ({} if in_row else {"extra": tree})
    value = json.dumps(batch, ensure_ascii=ascii_only).encode()
    if height(batch) > depth:
        assert reason(value, depth=depth) is Reason.TOO_DEEP
    else:
        decode(value, depth=depth)


@given(tree=ANY_JSON, depth=st.integers(0, 8))
@example(tree=["]", ["]", ["]", "["], "["], "["], depth=2)  # without regard to texts these pair up at one level
@example(tree=["\\", [["\\"]], '"]'], depth=2)
def test_brackets_in_texts_neither_hide_nor_make_levels(tree: object, depth: int) -> None:
    assert is_deeper_than(json.dumps(tree).encode(), depth) == (height(tree) > depth)


# Fields that are not as they should be.

ROWS: list[dict[str, Any]] = [
    {"target_currency": f"S{n}", "timestamp": 1_760_031_199_778 + n, "last": 100.5 + n, "high": 200.0, "low": 50.0}
    for n in range(5)
]
BOOK: dict[str, Any] = {"target_currency": "BOOK", "asks": [["1", "2"]], "bids": [["0.5", "2"]]}
NO_NUMBERS = ["", "-", "n/a", "now", "1,5", "1_000", "1 000", "0x10", "1e400", "nan", "true", True, [], {}, [[1]]]


def unreadable(batch: Batch) -> dict[str, int]:
    """How many fields of each name could not be read."""
    return dict(batch.unreadable) if isinstance(batch, PartialBatch) else {}


def fields(row: Message) -> dict[str, object]:
    """What a row says, with levels as bytes."""
    told = {name: getattr(row, name) for name in Message.__struct_fields__}
    return told | {name: bytes(told[name]) for name in LEVELS}


@pytest.mark.parametrize("content", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("field", ["timestamp", *PRICES])
def test_a_field_that_cannot_be_read_costs_its_row_that_field_and_nothing_else(field: str, content: object) -> None:
    rows = [dict(row) for row in [*ROWS, BOOK]]
    rows[2][field] = content
    batch = decode(encoded(data=rows))
    assert unreadable(batch) == {field: 1}
    expected = [fields(row) for row in decode(encoded(data=[*ROWS, BOOK])).data]
    expected[2][field] = None
    assert [fields(row) for row in batch.data] == expected
    assert (batch.batch_size, batch.timestamp_ms) == (2, BATCH["timestamp_ms"])
    converted = Decoder(Limits()).convert(BATCH | {"data": rows})
    assert unreadable(converted) == {field: 1}
    assert [fields(row) | dict.fromkeys(LEVELS) for row in converted.data] == [
        row | dict.fromkeys(LEVELS) for row in expected
    ]


def test_fields_that_cannot_be_read_are_counted_by_name() -> None:
    rows = [{"target_currency": "A", "last": "", "high": True}, {"target_currency": "B", "last": "x", "timestamp": "?"}]
    assert unreadable(decode(encoded(data=rows, batch_size="two"))) == {
        "batch_size": 1,
        "last": 2,
        "high": 1,
        "timestamp": 1,
    }


@pytest.mark.parametrize("content", [True, "two", {}, [], "", "1e400"], ids=repr)
def test_a_declared_size_that_cannot_be_read_costs_no_row_anything(content: object) -> None:
    batch = decode(encoded(data=ROWS, batch_size=content))
    assert (batch.batch_size, unreadable(batch)) == (None, {"batch_size": 1})
    assert [fields(row) for row in batch.data] == [fields(row) for row in decode(encoded(data=ROWS)).data]


@pytest.mark.parametrize("digits", [b"1e400", b"-1e400", b"9" * 400, b"9" * 5000, b'"' + b"9" * 5000 + b'"'])
def test_numbers_beyond_a_double_cannot_be_read(digits: bytes) -> None:
    batch = decode(row(b'"target_currency":"A","high":3,"last":%b},{"target_currency":"B","last":5' % digits))
    assert unreadable(batch) == {"last": 1}
    assert [(row.last, row.high) for row in batch.data] == [(None, 3.0), (5.0, None)]


@pytest.mark.parametrize("literal", ["NaN", "-NaN", "Infinity", "-Infinity", "nan", "inf", "-inf"])
def test_literals_that_are_no_json_are_null_and_counted_where_they_stand(literal: str) -> None:
    written = encoded(
        batch_size="@",
        note={"deep": ["@", "a@", "\\"]},
        data=[
            {"target_currency": "A@", "last": "@", "high": 2.5, "text": 'NaN "Infinity" \\'},
            {"target_currency": "B", "timestamp": "@", "last": 1.5, "extra": ["@"]},
            {"target_currency": "C", "asks": [["@", 1], [2, "@"]], "bids": [[1, 1]]},
        ],
    ).replace(b'"@"', literal.encode())
    batch = decode(written)
    assert unreadable(batch) == {"batch_size": 1, "last": 1, "timestamp": 1, "asks": 1, "other": 2}
    assert [row.symbol for row in batch.data] == ["A@", "B", "C"]
    assert [(row.last, row.high, row.timestamp) for row in batch.data[:2]] == [(None, 2.5, 0), (1.5, None, None)]
    assert bytes(batch.data[2].bids) == b"[[1, 1]]"


def test_what_pythons_json_writes_is_read() -> None:
    rows = [dict(ROWS[0]), {**ROWS[1], "last": math.nan, "high": math.inf, "low": -math.inf}]
    batch = decode(encoded(data=rows))
    assert unreadable(batch) == {"last": 1, "high": 1, "low": 1}
    assert batch.data[0].last == ROWS[0]["last"]
    assert fields(batch.data[1]) == fields(Decoder(Limits()).convert(BATCH | {"data": rows}).data[1])


@given(
    texts=st.lists(st.sampled_from(["NaN", "Infinity", '"', "\\", "[", ":", ",", "-inf", "x"]) | ANY_TEXT, max_size=5)
)
def test_texts_that_hold_such_literals_are_not_touched(texts: list[str]) -> None:
    symbol = "".join(texts)
    rows: list[dict[str, object]] = [{"target_currency": symbol, "note": texts, "last": math.nan}]
    batch = decode(encoded(data=rows, note=texts))
    assert [row.symbol for row in batch.data] == [symbol]
    assert unreadable(batch) == {"last": 1}


def test_a_byte_order_mark_before_a_batch_is_passed_over() -> None:
    for value in (encoded(), encoded(data=[{"target_currency": "A", "last": ""}]), encoded(noise=math.nan)):
        assert repr(decode(b"\xef\xbb\xbf" + value)) == repr(decode(value))


STAMPS = [1_760_031_199_778, 1_760_031_199_778.0, "1760031199778", " 1,760,031,199,778", "2025-10-09T17:33:19.778Z"]


@pytest.mark.parametrize("written", STAMPS, ids=repr)
def test_a_stamp_is_a_whole_number_however_it_is_written(written: object) -> None:
    rows = [{"target_currency": "A", "timestamp": written}]
    for batch in (
        decode(encoded(timestamp_ms=written, data=rows)),
        Decoder(Limits()).convert(BATCH | {"timestamp_ms": written, "data": rows}),
    ):
        assert (batch.timestamp_ms, batch.data[0].timestamp) == (1_760_031_199_778, 1_760_031_199_778)
        assert type(batch.timestamp_ms) is int
        assert not unreadable(batch)


NUMBERS = {"timestamp": 1_760_031_199_778, "last": 1.5, "high": 2.0, "low": 1e-8, "price": -0.25}
ANY_NUMBER = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)


@given(
    as_text=st.sets(st.sampled_from([*NUMBERS])),
    numbers=st.fixed_dictionaries(dict.fromkeys(NUMBERS, ANY_NUMBER)),
    beside=st.sampled_from([3, "", " 3 ", math.nan]),
)
@example(as_text={*NUMBERS}, numbers=NUMBERS, beside=3)
def test_numbers_of_a_row_that_are_written_as_text_are_the_same_numbers(
    as_text: set[str], numbers: dict[str, float], beside: object
) -> None:
    """Also beside some that are not, or cannot be read; levels are kept as they are."""
    texts = {name: json.dumps(number) if name in as_text else number for name, number in numbers.items()}
    rows = [{"target_currency": "A", "asks": [["1", "2"]], **texts}, {"target_currency": "B", "last": beside}]
    batch = decode(encoded(data=rows))
    assert {name: getattr(batch.data[0], name) for name in NUMBERS} == numbers
    assert bytes(batch.data[0].asks) == b'[["1", "2"]]'
    assert batch.data[1].last == (3.0 if beside in (3, " 3 ") else None)
    assert (batch.region, batch.timestamp_ms, batch.batch_size) == ("korea", BATCH["timestamp_ms"], 2)
    assert Decoder(Limits()).convert(BATCH | {"data": rows}).data[0].last == numbers["last"]


@given(
    odd=st.dictionaries(st.sampled_from(["timestamp", *PRICES]), ANY_JSON | st.sampled_from(NO_NUMBERS + STAMPS)),
    usual=st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(NUMBERS, ANY_NUMBER | st.none())), max_size=4),
    place=st.integers(0, 4),
)
def test_what_a_row_says_does_not_depend_on_the_rows_beside_it(
    odd: dict[str, object], usual: list[dict[str, object]], place: int
) -> None:
    """Whichever way its batch has to be read."""
    rows = [{"target_currency": "A", **row} for row in usual]
    rows.insert(place, {"target_currency": "B", **odd})
    batches = [decode(encoded(data=[row])) for row in rows]
    for extra_row in ([], [{"target_currency": "C", "last": math.nan}], [{"target_currency": "C", "last": 10**400}]):
        batch = decode(encoded(data=rows + extra_row))
        assert [repr(row) for row in batch.data[: len(rows)]] == [repr(one.data[0]) for one in batches]
        expected = sum((Counter(unreadable(one)) for one in batches), Counter({"last": len(extra_row)}))
        assert Counter(unreadable(batch)) == +expected


def test_a_row_without_a_symbol_is_named_with_its_place_also_beside_fields_that_cannot_be_read() -> None:
    rows = [{"target_currency": "A", "last": ""}] * 300 + [{"symbol": "B"}]
    for value in (encoded(data=rows), encoded(data=[*rows, {"target_currency": "A", "last": 10**400}])):
        with pytest.raises(Rejected) as caught:
            decode(value)
        assert caught.value.detail == "Object missing required field `target_currency` - at `$.data[300]`"
        assert value[caught.value.position :].startswith(b'{"symbol": "B"}')


@pytest.mark.parametrize("size", [2, 2.0, -1, 2**64, None])
def test_any_number_is_a_readable_batch_size(size: float | None) -> None:
    batch = decode(encoded(batch_size=size))
    assert batch.batch_size == size
    assert not isinstance(batch, PartialBatch)


@pytest.mark.parametrize("field", ["symbol", "market", "종목", "data"])
def test_the_field_that_holds_the_symbol_has_any_name(field: str) -> None:
    rows = [{field: "A", "target_currency": 5}, {"target_currency": 6, field: "B"}]
    value = json.dumps(BATCH | {"data": rows}, ensure_ascii=False).encode()
    assert [row.symbol for row in decode(value, field).data] == ["A", "B"]
    with pytest.raises(Rejected, match=f"missing_field: .*{field}"):
        decode(json.dumps(BATCH | {"data": [{"other": "A"}]}).encode(), field)


def test_of_a_key_that_is_there_twice_the_last_counts() -> None:
    assert decode(extra(b'"region":"a","region":"b"')).region == "b"
    assert [row.symbol for row in decode(row(rb'"target_currency":"A","target\u005fcurrency":"B"')).data] == ["B"]
    assert decode(extra(b'"data":[{"target_currency":"A"}],"data":[]')).data == []


@given(names=st.dictionaries(st.sampled_from(["symbol", "type", "__class__", "__struct_fields__", "gc"]), ANY_JSON))
def test_a_record_cannot_set_what_is_not_its_own(names: dict[str, object]) -> None:
    batch = decode(json.dumps(names | BATCH | {"data": [names | {"target_currency": "A"}]}).encode())
    assert [row.symbol for row in batch.data] == ["A"]
    assert set(msgspec.structs.asdict(batch)) == {*BATCH}
    assert set(msgspec.structs.asdict(batch.data[0])) == {*Message.__struct_fields__}


@given(value=st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_batch_or_rejected(value: bytes) -> None:
    assert is_decided(value)


@given(
    fields=st.dictionaries(st.sampled_from([*BATCH, "symbol"]), ANY_JSON),
    row=st.dictionaries(st.sampled_from(["target_currency", "symbol", *Message.__struct_fields__[1:]]), ANY_JSON),
    nan=st.booleans(),
)
def test_any_json_is_a_batch_or_rejected(fields: dict[str, object], row: dict[str, object], nan: bool) -> None:
    """Also when almost everything is as it should be."""
    noise = {"noise": float("nan")} if nan else {}
    assert is_decided(json.dumps(fields).encode())
    assert is_decided(json.dumps(BATCH | fields | noise).encode())
    assert is_decided(json.dumps(BATCH | {"data": [row, BATCH["data"][0] | row]}).encode())


@given(position=st.integers(0, len(encoded()) - 1), byte=st.integers(0, 255))
def test_a_batch_with_one_byte_changed_is_a_batch_or_rejected(position: int, byte: int) -> None:
    value = bytearray(encoded())
    value[position] = byte
    assert is_decided(bytes(value))


@given(fields=st.dictionaries(st.sampled_from([*BATCH]), ANY_JSON))
def test_objects_are_read_as_their_json_is(fields: dict[str, object]) -> None:
    value = BATCH | fields
    try:
        expected: object = decode(json.dumps(value).encode(), depth=512)
    except Rejected as rejected:
        expected = rejected.reason
    try:
        converted: object = Decoder(Limits()).convert(value)
    except Rejected as rejected:
        converted = rejected.reason
    assert repr(converted) == repr(expected)


def is_decided(value: bytes) -> bool:
    """Whether decoding gives one of the two things that it may give."""
    try:
        return isinstance(decode(value), Batch)
    except Rejected as rejected:
        return rejected.reason in Reason and len(rejected.detail) <= 200
