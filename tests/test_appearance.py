"""A value that cannot be read is told by what it looks like, and by the place where JSON ends."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import pickle
import zlib
from io import BytesIO
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config.schema import Limits
from exporter.decoding.appearance import around, looks_like
from exporter.decoding.binary import EXAMINED_BYTES
from exporter.decoding.encodings import encoding
from exporter.decoding.faults import DETAIL_CHARACTERS
from exporter.decoding.json_decoder import Decoder
from exporter.events.values import EXCERPT_BYTES
from exporter.model import Reason, Rejected

BATCH: dict[str, Any] = {
    "exchange": "upbit",
    "region": "korea",
    "request_type": "ticker",
    "timestamp_ms": 1_760_031_213_693,
    "data": [{"target_currency": "KRW-BTC", "note": "x" * 40}],
}
TEXT = json.dumps(BATCH)
JSON = TEXT.encode()
SCHEMA = fastavro.parse_schema({"type": "record", "name": "Batch", "fields": [{"name": "exchange", "type": "string"}]})
DECODER = Decoder(Limits())


def avro_container() -> bytes:
    out = BytesIO()
    fastavro.writer(out, SCHEMA, [{"exchange": "upbit"}])
    return out.getvalue()


def in_avro() -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, {"exchange": "upbit"})
    return out.getvalue()


def rejected(value: bytes) -> Rejected:
    with pytest.raises(Rejected) as caught:
        DECODER.decode(value)
    return caught.value


def named(names: str) -> bytes:
    """A batch with these names in it, not yet encoded."""
    return json.dumps(BATCH | {"exchange": names}, ensure_ascii=False).encode()


FORMATS = [
    (gzip.compress(JSON, mtime=0), "gzip"),
    (zlib.compress(JSON), "zlib"),
    (bz2.compress(JSON), "bzip2"),
    (lzma.compress(JSON), "xz"),
    # As the tools of these formats write a text; there is none here.
    (bytes.fromhex("28b52ffd2006310000") + b"[1, 2]", "zstd"),
    (bytes.fromhex("04224d186440a7060000805b312c20325d00000000"), "an lz4 frame"),
    (bytes.fromhex("ff060000734e61507059010a0000") + b"[1, 2]", "a snappy stream"),
    (b"\x82SNAPPY\0\0\0\0\1\0\0\0\1" + b"[1, 2]", "snappy as Java frames it"),
    (bytes([len(JSON) & 127 | 128, len(JSON) >> 7, 61 << 2, len(JSON) - 1 & 255, 0]) + JSON, "snappy without a frame"),
    (b"\xc3\x01" + bytes(range(8)) + in_avro(), "Avro single-object encoding"),
    (avro_container(), "an Avro container"),
    (b"\0\0\0\0\x07" + in_avro(), "Confluent's wire format with schema 7"),
    (b"\0\0\0\0\x07" + JSON, "Confluent's wire format with schema 7, JSON behind it"),
    (msgspec.msgpack.encode(BATCH), "MessagePack"),
    (msgspec.msgpack.encode([BATCH] * 20), "MessagePack"),
    (bytes.fromhex("a26865786368616e676565757062697461780a"), "CBOR"),
    (b"\x0a\x05upbit\x12\x05korea\x18\x07", "protobuf, perhaps"),
    (pickle.dumps(BATCH), "a Python pickle"),
    (TEXT.encode("utf-16"), "UTF-16"),
    (TEXT.encode("utf-16-le"), "UTF-16 without a byte order mark"),
    (TEXT.encode("utf-16-be"), "UTF-16 without a byte order mark"),
    (TEXT.encode("utf-32"), "UTF-32"),
    (TEXT.encode("utf-32-le"), "UTF-32 without a byte order mark"),
    (TEXT.encode("utf-32-be"), "UTF-32 without a byte order mark"),
    (b"<html><body>502 Bad Gateway</body></html>", "HTML"),
    (b"\r\n<!DOCTYPE html>\n<p>", "HTML"),
    (b"\xef\xbb\xbf<?xml version='1.0'?><batch/>", "XML"),
    (repr(BATCH).encode(), "Python's repr, with single quotes"),
    (base64.b64encode(JSON), "JSON in base64"),
    (b"exchange=upbit&region=korea", "a URL-encoded form"),
    (b"---\nexchange: upbit\n", "YAML"),
    (b"upbit,korea,ticker\n", "plain text"),
    (b"\0" * 64, "zero bytes only"),
    (b" \r\n", "blanks only"),
    (bytes(range(128, 256)), "binary data"),
    (b"\xc8\x07\x03\xc8\xff" * 20, "binary data"),
]


@pytest.mark.parametrize(("value", "name"), FORMATS, ids=[f"{name} {len(value)}" for value, name in FORMATS])
def test_a_value_of_another_format_is_called_by_it(value: bytes, name: str) -> None:
    told = rejected(value)
    assert told.reason is Reason.INVALID_JSON
    assert told.detail.startswith(f"looks like {name}; ")


ENCODED = [
    ("업비트 원화", "euc_kr", "EUC-KR"),
    ("똠방각하 펲시", "cp949", "CP949"),
    ("東京取引所の円", "shift_jis", "Shift JIS"),
    ("ビットコイン", "shift_jis", "Shift JIS"),
    ("東京取引所の円", "euc_jp", "EUC-JP"),
    ("火币交易所", "gb18030", "GB18030"),
    ("幣託交易所", "big5", "Big5"),
    ("биржа Биткоин", "cp1251", "Windows-1251"),
    ("échange café", "cp1252", "Windows-1252 or Latin-1"),
]


@pytest.mark.parametrize(("text", "codec", "name"), ENCODED)
@pytest.mark.parametrize("fill", [0, 3000, 100_000], ids=["at the start", "far behind", "very far behind"])
def test_a_text_that_is_not_utf_8_is_told_with_its_encoding_and_place(
    text: str, codec: str, name: str, fill: int
) -> None:
    value = json.dumps({"fill": "x" * fill, **BATCH, "exchange": text}, ensure_ascii=False).encode(codec)
    told = rejected(value)
    assert told.detail.startswith(f"looks like JSON in {name}; ")
    assert told.reason in (Reason.INVALID_UTF8, Reason.INVALID_JSON)  # the latter where a byte is taken for a backslash
    assert abs(told.position - value.index(text.encode(codec))) <= len(text.encode(codec))
    assert f" at byte {told.position}: " in told.detail


FAULTS = [
    (JSON[:-20], "the JSON is cut off", b""),
    (JSON.replace(b'"korea"', b"None"), "None is not JSON", b"None"),
    (JSON.replace(b'"korea"', b"undefined"), "undefined is not JSON", b"undefined"),
    (JSON.replace(b'"korea"', b"nil"), "nil is not JSON", b"nil"),
    (JSON.replace(b'"korea"', b"N/A"), "N/A is not JSON", b"N/A"),
    (JSON.replace(b'"korea"', b"True"), "True is not JSON", b"True"),
    (JSON.replace(b"{", b"{NaN:1,", 1), "expected '\"'", b"NaN"),
    (JSON.replace(b'"region"', b'"a":NaN,"region"').replace(b'"korea"', b"None"), "None is not JSON", b"None"),
    (JSON.replace(b"korea", b"ko\nrea"), "a control character that is not escaped", b"\nrea"),
    (JSON.replace(b"korea", rb"ko\ud800"), "half of a surrogate pair", rb"\ud800"),
    (JSON.replace(b"korea", rb"ko\ud800\u0041"), "half of a surrogate pair", rb"\ud800"),
    (b'{"a":"\\ud800"}', "half of a surrogate pair", rb"\ud800"),
    (rb'{"a":"\ud83d\ude00', "the JSON is cut off", b""),
    (JSON[:-1] + b",}", "trailing comma in object", b"}"),
    (JSON * 2, "trailing characters", JSON),
    (JSON + b"\n" + JSON, "trailing characters", JSON),
    (JSON.replace(b'"korea"', b"'korea'"), "invalid character", b"'korea'"),
    (JSON.replace(b'"korea"', b"+1"), "invalid character", b"+1"),
]


@pytest.mark.parametrize(("value", "words", "place"), FAULTS, ids=lambda part: str(part)[:20])
def test_json_with_a_fault_is_told_with_its_place(value: bytes, words: str, place: bytes) -> None:
    told = rejected(value)
    assert told.reason is Reason.INVALID_JSON
    assert told.detail.startswith(f"{words} at byte {told.position}: ")
    assert value[told.position :].startswith(place)
    assert around(place[:8], 0, 8) in told.detail


def test_json_inside_of_a_json_text_is_told() -> None:
    told = rejected(json.dumps(TEXT).encode())
    assert told.reason is Reason.WRONG_TYPE
    assert told.detail.endswith("looks like JSON inside of a JSON text, encoded twice")


@given(value=st.binary(max_size=200), position=st.integers(0, 300), size=st.integers(0, 100))
@example(value=b'a"\\\n\xff\x00', position=3, size=6)
def test_a_place_is_quoted_in_bounds_on_one_line_in_ascii(value: bytes, position: int, size: int) -> None:
    text = around(value, position, size)
    assert text.isascii()
    assert text.isprintable() or not text
    quoted = text.encode().decode("unicode_escape").encode("latin-1")
    assert quoted in value
    assert len(quoted) == min(size, len(value))
    if position < len(value) and size > 1:
        assert value.index(quoted) <= position
        assert value[position : position + 1] in quoted


FRONTS = st.sampled_from([b"", b"\0", b"\x80", b"\xa1", b"{", b"x", b"\x0a"])


@given(value=st.binary(max_size=100), position=st.integers(0, 200), front=FRONTS)
def test_anything_looks_like_something_short(value: bytes, position: int, front: bytes) -> None:
    for each in (front + value, front + value * 60):
        name = looks_like(each, position)
        assert len(name) < 80
        assert name.isascii()
        assert encoding(each).isascii()


@given(text=st.text(max_size=60), cut=st.integers(0, 3))
def test_utf_8_is_utf_8_also_when_it_is_cut(text: str, cut: int) -> None:
    value = text.encode()
    assert encoding(value[: len(value) - cut]) == ""


CUT = st.builds(lambda value, end: value[:end], st.sampled_from([JSON, named("업비트")]), st.integers(1, len(JSON) - 1))


@given(value=st.binary(min_size=1) | CUT)
def test_what_is_told_of_any_bytes_is_short_and_on_one_line(value: bytes) -> None:
    told = rejected(value)
    assert 0 < len(told.detail) <= DETAIL_CHARACTERS
    assert told.detail.isascii()
    assert told.detail.isprintable()
    assert 0 <= told.position <= len(value)


def test_the_excerpt_of_an_error_event_is_about_the_place() -> None:
    value = JSON.replace(b'"data"', b'"fill":"%b","broken":None,"data"' % (b"x" * 100_000))
    told = rejected(value)
    assert b'"broken":None' in around(value, told.position, EXCERPT_BYTES).encode()
    assert len(value) > EXAMINED_BYTES
