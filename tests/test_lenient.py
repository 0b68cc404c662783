"""A field that is not as it should be costs its row that field, and the other rows nothing."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config.schema import Limits
from exporter.decoding.batch import LEVELS, PRICES, Batch, Message, PartialBatch
from exporter.decoding.json_decoder import Decoder
from exporter.model import Rejected

DECODER = Decoder(Limits())
BATCH: dict[str, Any] = {
    "exchange": "upbit",
    "region": "korea",
    "request_type": "ticker",
    "timestamp_ms": 1_760_031_213_693,
    "batch_size": 2,
}
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text('[]{}"\\,:\n')
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
)


def encoded(**fields: object) -> bytes:
    """A good batch with some fields replaced."""
    return json.dumps(BATCH | {"data": []} | fields).encode()


def decode(value: bytes) -> Batch:
    return DECODER.decode(value)


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
    converted = DECODER.convert(BATCH | {"data": rows})
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
    rows = b'[{"target_currency":"A","high":3,"last":%b},{"target_currency":"B","last":5}]' % digits
    batch = decode(encoded().replace(b"[]", rows))
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
    assert fields(batch.data[1]) == fields(DECODER.convert(BATCH | {"data": rows}).data[1])


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
        DECODER.convert(BATCH | {"timestamp_ms": written, "data": rows}),
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
    assert DECODER.convert(BATCH | {"data": rows}).data[0].last == numbers["last"]


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
        assert list(map(content, batch.data[: len(rows)])) == [content(one.data[0]) for one in batches]
        expected = sum((Counter(unreadable(one)) for one in batches), Counter({"last": len(extra_row)}))
        assert Counter(unreadable(batch)) == +expected


def content(row: Message) -> str:
    """What a row holds, also where that is no number; the text of JSON that is kept as such has an address."""
    return repr([bytes(value) if isinstance(value, msgspec.Raw) else value for value in msgspec.structs.astuple(row)])


def test_a_row_without_a_symbol_is_named_with_its_place_also_beside_fields_that_cannot_be_read() -> None:
    rows = [{"target_currency": "A", "last": ""}] * 300 + [{"symbol": "B"}]
    for value in (encoded(data=rows), encoded(data=[*rows, {"target_currency": "A", "last": 10**400}])):
        with pytest.raises(Rejected) as caught:
            decode(value)
        assert caught.value.detail == "Object missing required field `target_currency` - at `$.data[300]`"
        assert value[caught.value.position :].startswith(b'{"symbol": "B"}')
