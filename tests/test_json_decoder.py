"""Whatever bytes come in, the decoder gives a batch or a rejection that says why."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config.schema import Limits
from exporter.decoding.batch import MAX_TIMESTAMP_MS, NO_JSON, Batch, Message, PartialBatch
from exporter.decoding.exponents import ALERT_BYTES, Exponents
from exporter.decoding.json_decoder import Decoder
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


@cache
def decoder(symbol_field: str, limits: Limits) -> Decoder:
    return Decoder(limits, symbol_field)


def decode(value: bytes | None, symbol_field: str = "target_currency", /, **limits: int) -> Batch:
    return decoder(symbol_field, Limits(**limits)).decode(value)


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
    assert isinstance(partial, PartialBatch)
    assert partial.unreadable == {"timestamp": 1}
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
    # Deeper than a decoder can follow before it sees that the text is cut off; that of Python 3.13 follows further.
    pytest.param(extra(b'"a":' + b"[" * 100_000), Reason.TOO_DEEP, id="100000 levels, truncated"),
    pytest.param(row(b'"a":' + b'{"a":' * 100_000), Reason.TOO_DEEP, id="100000 levels in a row, truncated"),
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
    later = {
        Reason.INVALID_ENCODING,
        Reason.INVALID_FEED,
        Reason.INVALID_SYMBOL,
        Reason.TOO_MANY_FEEDS,
        Reason.TOO_MANY_SYMBOLS,
    }
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


def test_depth_is_judged_in_one_pass_however_deep_it_may_be() -> None:
    """The time is that of the brackets: 1 MiB of them, nested as deep as the largest limit."""
    levels = 512
    nest = b"[" * levels + b"]" * levels
    value = b"[" + b",".join([nest] * (1024**2 // len(nest))) + b"]"
    assert not is_deeper_than(value, levels + 1)
    assert is_deeper_than(value, levels)


LONG = [b"5e-310", b"-1.2345678901234567890123E+300", b'"5e-310"', b"1e0100", b"0e-310", b"1e400", b" 1E999 "]


def alert() -> Decoder:
    """A decoder that looks for long exponents in each record, because it has just read one full of them."""
    decoder = Decoder(Limits(depth=12))
    decoder.decode(row(b'"target_currency":"KRW-BTC"' + b',"last":5e-310' * 5000))
    return decoder


def outcome(decoder: Decoder, value: bytes) -> object:
    """All that decoding says of a record."""
    try:
        batch = decoder.decode(value)
        return type(batch).__name__, msgspec.json.encode(batch)
    except Rejected as rejected:
        return rejected.reason, rejected.detail, rejected.position


def with_long_exponents(numbers: list[bytes]) -> bytes:
    """A good batch in which these stand in the places of numbers, of levels and of what is not read, by turns."""
    value = encoded(data=[{"target_currency": "A", **dict.fromkeys(["last", "asks", "id"], "@")}] * len(numbers))
    for number in numbers:
        for written in (number, b"[[%b,1]]" % number, number):
            value = value.replace(b'"@"', written, 1)
    return value


ALERT = alert()


@given(
    numbers=st.lists(st.sampled_from([*LONG, b"1.5", b"null", b"NaN", b'"x"', b"[5e-310]", b"true"]), max_size=4),
    fields=st.dictionaries(st.sampled_from([*BATCH]), st.sampled_from([*LONG, b"null", b"[1e100]"]), max_size=2),
    cut=st.integers(0, 400),
    noise=st.sampled_from([b"", b"", b"", b"\xff", b"\\", b'"', b"[", b"e", b"-", b"\\ud83d"]),
    prefix=st.sampled_from([b"", b"", b"\xef\xbb\xbf", b" "]),
)
def test_what_is_read_of_a_record_does_not_depend_on_the_records_before(
    numbers: list[bytes], fields: dict[str, bytes], cut: int, noise: bytes, prefix: bytes
) -> None:
    """Whether long exponents are looked for in it does."""
    value = with_long_exponents(numbers)
    for name, written in fields.items():
        value = value.replace(json.dumps({name: BATCH[name]})[1:-1].encode(), b'"%b":%b' % (name.encode(), written))
    value = prefix + (value[:cut] + noise + value[cut:] if noise else value)
    assert outcome(ALERT, value) == outcome(Decoder(Limits(depth=12)), value)


@given(fields=st.dictionaries(st.sampled_from([*BATCH, "last", "x"]), ANY_JSON), field=ANY_JSON)
def test_any_json_is_read_alike_whether_long_exponents_are_looked_for(fields: dict[str, object], field: object) -> None:
    data = [{"target_currency": "A", "last": field, "x": 5e-310}, {"target_currency": "B", "timestamp": field}]
    for value in (BATCH | {"data": data}, BATCH | {"data": data} | fields):
        text = json.dumps(value).encode()
        assert outcome(ALERT, text) == outcome(Decoder(Limits(depth=12)), text)


@pytest.mark.parametrize("number", LONG[:4])
def test_record_full_of_long_exponents_is_read_as_one_with_a_few_is(number: bytes) -> None:
    """Each of them costs as much as hundreds of ordinary bytes, unless it is read by itself."""
    value = row(b'"target_currency":"KRW-BTC"' + (b',"last":' + number) * 20_000)
    batch = decode(value, record_bytes=2**20)
    assert not isinstance(batch, PartialBatch)
    assert [message.last for message in batch.data] == [float(number.strip(b'"'))]


@pytest.mark.parametrize(
    "text", [b"1e-05", b"1.5E+09", b'"a0e123"', b'"KRW-2e345x"', b'"5e-310 won"', b"[1,2]", b'"e-310"']
)
def test_what_is_no_long_exponent_is_read_as_ever(text: bytes) -> None:
    """Small prices, identifiers, and symbols that look a little like it."""
    value = row(b'"target_currency":"KRW-BTC","last":1.5' + (b',"id":' + text) * 20_000)
    batch = decode(value, record_bytes=2**20)
    assert not isinstance(batch, PartialBatch)
    assert [message.last for message in batch.data] == [1.5]


def test_exponents_that_were_missed_once_are_found_from_the_first_finding_on() -> None:
    """Few of them are missed, because records that are searched in windows cost what those windows hide."""
    rare = row(b'"target_currency":"KRW-BTC","last":5e-310,"note":"' + b"x" * 5000 + b'"')
    dense = row(b'"target_currency":"KRW-BTC"' + b',"last":5e-310' * 5000)
    exponents = Exponents()

    def seen(value: bytes) -> bool:
        """As the decoder asks."""
        exponents.unseen_bytes += len(value)
        return exponents.unseen_bytes >= exponents.due_bytes and exponents.seen(value)

    assert [seen(value) for value in (rare, dense, rare)] == [False, True, True]
    ordinary = encoded()
    for _ in range(1 + ALERT_BYTES // 2**20):
        assert not seen(ordinary + b" " * 2**20)
    assert not seen(rare)
