"""`explain` names what a record is that no known format reads, and what to do: for JSON, a format to begin with."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.loader import load
from exporter.decoding.batch import Batch
from exporter.decoding.formats.formats import Formats
from exporter.decoding.json_decoder import Decoder
from exporter.tools.explain.draft import draft
from exporter.tools.explain.next_step import next_step
from tests.support.formats import record
from tests.test_explain import explained

MS, LOCAL = 1_760_031_213_693, "2025-10-09T17:33:33.693"
TICK = {"symbol": "BTC", "price": 1.5}


def step(value: bytes | None, *, has_format: bool = False) -> str:
    return "\n".join(next_step(value, "t", has_format=has_format))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, ["no value", "deletion"]),
        (b"", ["no value", "deletion"]),
        (gzip.compress(b"{}", mtime=0), ["looks like gzip", "compression.type"]),
        (zlib.compress(json.dumps(TICK).encode()), ["looks like zlib", "compression.type"]),
        (bz2.compress(b"{}"), ["looks like bzip2", "compression.type"]),
        (base64.b64encode(json.dumps(TICK).encode()), ["JSON in base64", "let the collector write JSON"]),
        (json.dumps(json.dumps(TICK)).encode(), ["encoded twice", "once"]),
        (str(TICK).encode(), ["Python's repr", "let the collector write JSON"]),
        (b"<?xml version='1.0'?><tick/>", ["looks like XML", "let the collector write JSON"]),
        (b"ts,symbol,price\n1,BTC,2.5\n", ["looks like plain text", "let the collector write JSON"]),
        (b"1760031213693,BTC,62000.5", ["looks like plain text", "let the collector write JSON"]),
        (b'{"s":"A"}\n{"s":"B"}\n', ["several JSON values", "a record for each"]),
        (b"\0\0\0\0\7\6BTC", ["schema 7", "avro-confluent", "schema_registry"]),
        (b'\0\0\0\0\7{"s":"A"}', ["JSON behind it", "without a schema"]),
        (b"\xc3\x0112345678\6BTC", ["avro-single-object", "schemas"]),
        (json.dumps(TICK).encode("utf-16"), ["UTF-16", "UTF-8 only"]),
        (b'{"s":"A","p":1.', ["begins like JSON and is none"]),
        (b"62000.5", ["a single value in JSON"]),
        (b"{}", ["an empty object"]),
        (b"[]", ["an empty list"]),
        (b'{"symbol":"BTC","price":NaN}', ["A format to begin with", "symbol: symbol"]),
    ],
)
def test_each_kind_of_record_is_named_with_what_to_do(value: bytes | None, words: list[str]) -> None:
    text = step(value)
    assert [word for word in words if word not in text] == []
    assert text.splitlines()[0] in explained(value)


def test_where_there_is_a_format_no_other_is_drafted() -> None:
    assert step(json.dumps(TICK).encode(), has_format=True).startswith("It is JSON: compare its fields")


def read(content: object, encoding: str = "json") -> Batch:
    """The batch of a record, read by the format that is drafted for it."""
    text = draft(content, "t", encoding)
    assert text is not None
    config = load(text, {}, {}, hostname="box", read_file=str).input
    encoded = msgspec.msgpack.encode(content) if encoding == "msgpack" else content
    found = Formats(config.formats, config.limits, Decoder(config.limits)).read(record(encoded))
    assert found is not None
    return found


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("content", "feed", "row"),
    [
        (
            {"sym": "A", "price": "1,250.5", "time": str(MS), "exch": "foo", "kind": "fill"},
            "foo fill",
            ("A", MS, 1250.5),
        ),
        ([MS, "BTC-USD", "1250.5", "0.01", "buy"], "EXCHANGE trade", ("BTC-USD", MS, 1250.5)),
        ([[MS * 1000, "BTC-USD", 1250.5]], "EXCHANGE trade", ("BTC-USD", MS, 1250.5)),
        ([{"instId": "A", "px": 1250.5, "ts": MS}], "EXCHANGE trade", ("A", MS, 1250.5)),
        ({"venue": "x", "at": MS / 1000, "d": [{"s": "A", "p": 1250.5, "t": MS}]}, "x trade", ("A", MS, 1250.5)),
        ({"a": {"b": {"Symbol": "A", "Price": 1250.5, "Timestamp": LOCAL}}}, "EXCHANGE trade", ("A", MS, 1250.5)),
        ({"after": {"pair": "A", "price": 1250.5, "updated_at": f"{LOCAL}Z"}}, "EXCHANGE trade", ("A", MS, 1250.5)),
    ],
)
def test_a_draft_reads_the_record_that_it_is_made_for(
    content: object, feed: str, row: tuple[object, ...], encoding: str
) -> None:
    found = read(content, encoding)
    assert f"{found.exchange} {found.request_type}" == feed
    one = found.data[0]
    assert (one.symbol, one.timestamp, one.price) == row


def test_a_draft_of_an_order_book_has_its_sides() -> None:
    found = read({"code": "A", "bids": [[1, 2]], "asks": {"3": 4}})
    assert found.request_type == "orderbook"
    assert (bytes(found.data[0].bids), bytes(found.data[0].asks)) == (b"[[1, 2]]", b'[["3",4]]')


NAMES = st.sampled_from(
    ["symbol", "s", "price", "p", "ts", "time", "at", "ask", "bids", "type", "e", "data", "true", "x: y"]
)
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["A", "1.5", "", LOCAL, MS, MS * 1000])
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = NAMES | st.text(max_size=3)
    return st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4)


@given(content=st.recursive(VALUES, nested, max_leaves=12))
def test_any_draft_is_a_valid_configuration(content: object) -> None:
    text = draft(content, "t")
    if text is not None:
        assert load(text, {}, {}, hostname="box", read_file=str).input.formats
