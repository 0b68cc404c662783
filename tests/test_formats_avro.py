"""Avro records are read with the schema that they name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.files import read_text
from exporter.config.loader import ConfigError, load
from exporter.config.schema import Config, Limits
from exporter.decoding.batch import Batch
from exporter.decoding.formats.avro import confluent, parsed, schema_id
from exporter.decoding.formats.formats import Formats
from exporter.decoding.json_decoder import Decoder
from exporter.events.encoding import confluent_frame, single_object_frame
from exporter.model import Reason, Rejected
from tests.support.formats import CONFIG, record

MICROSECONDS = 1_700_000_000_250_000
MOMENT = datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC)
TIME = {"type": "long", "logicalType": "timestamp-micros"}
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Trade",
    "namespace": "market.crypto",
    "fields": [
        {"name": "exchange", "type": "string"},
        {"name": "canonical_symbol", "type": "string"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 8}},
        {"name": "timestamp", "type": TIME},
        {"name": "last", "type": ["null", "double"], "default": None},
        {"name": "asks", "type": {"type": "array", "items": {"type": "array", "items": "double"}}, "default": []},
        {"name": "levels", "type": {"type": "map", "values": "double"}, "default": {}},
    ],
}
VALUE = {"exchange": "binance", "canonical_symbol": "BTC/USDT", "price": Decimal("37100.5"), "timestamp": MOMENT}
FORMAT: dict[str, Any] = {
    "topics": "t",
    "encoding": "avro-single-object",
    "feed": {"region": "global", "exchange": {"field": "exchange"}, "request_type": "trade"},
    "time": {"field": "timestamp", "unit": "us"},
    "row": {
        "symbol": "canonical_symbol",
        "timestamp": {"field": "timestamp", "unit": "us"},
        "price": "price",
        "last": "last",
        "asks": "asks",
        "bids": "levels",
    },
}


def body(value: dict[str, Any] = VALUE, schema: dict[str, Any] = SCHEMA) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return stream.getvalue()


@pytest.fixture(scope="module")
def schema_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("schemas") / "trade.avsc"
    file.write_text(json.dumps(SCHEMA))
    return file


def configured(one: dict[str, Any]) -> Config:
    given = CONFIG | {"input": CONFIG["input"] | {"formats": [one]}}
    return load(json.dumps(given), {}, {}, hostname="box-1", read_file=read_text)


@pytest.fixture(scope="module")
def formats(schema_file: Path) -> Formats:
    config = configured(FORMAT | {"schemas": str(schema_file)})
    return Formats(config.input.formats, Limits(), Decoder(Limits()))


def read(formats: Formats, value: bytes) -> Batch:
    found = formats.read(record(value))
    assert found is not None
    return found


def test_a_record_in_the_single_object_encoding_is_read_by_its_fingerprint(formats: Formats) -> None:
    found = read(formats, single_object_frame(SCHEMA) + body())
    (row,) = found.data
    assert (found.exchange, found.timestamp_ms) == ("binance", MICROSECONDS // 1000)
    assert (row.symbol, row.timestamp, row.price, row.last) == ("BTC/USDT", MICROSECONDS / 1000, 37_100.5, None)


def test_sides_of_books_are_arrays_and_maps(formats: Formats) -> None:
    found = read(formats, single_object_frame(SCHEMA) + body(VALUE | {"asks": [[2.0, 1.0]], "levels": {"1.5": 3.0}}))
    (row,) = found.data
    assert [json.loads(bytes(side)) for side in (row.asks, row.bids)] == [[[2.0, 1.0]], [["1.5", 3.0]]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"{}", "it begins with C3 01"),
        (b"\xc3\x01" + b"x" * 20, "no schema has the fingerprint 7878787878787878"),
        (single_object_frame(SCHEMA) + body()[:-4], "no Avro of its schema"),
        (single_object_frame(SCHEMA) + body() + b"x", "and 1 bytes follow"),
    ],
)
def test_bytes_of_another_schema_are_rejected(formats: Formats, value: bytes, words: str) -> None:
    with pytest.raises(Rejected, match=words) as caught:
        formats.read(record(value))
    assert caught.value.reason is Reason.INVALID_ENCODING


@given(value=st.binary(max_size=200))
def test_any_bytes_behind_a_frame_are_a_batch_or_rejected(formats: Formats, value: bytes) -> None:
    assert is_decided(formats, single_object_frame(SCHEMA) + value)


def is_decided(formats: Formats, value: bytes) -> bool:
    try:
        return formats.read(record(value)) is not None
    except Rejected as why:
        return 0 < len(why.detail) <= 200


def test_a_record_in_confluents_wire_format_is_read_by_its_id() -> None:
    read_record = confluent({7: parsed(json.dumps(SCHEMA))}.__getitem__)
    found = read_record(confluent_frame(7) + body())
    assert (found["timestamp"], found["price"]) == (MICROSECONDS, Decimal("37100.5"))
    for value in (b"", b"\0\0\0\0", b"{}xxxx"):
        assert schema_id(value) is None
        with pytest.raises(Rejected, match="invalid_encoding: no Avro in Confluent's wire format"):
            read_record(value)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"type":"record"}', '"nonsense"', "5"])
def test_a_file_that_is_no_schema_is_an_error_at_the_start(text: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.avsc"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"input\.formats\[0\]\.schemas\[0\]: got .*no Avro schema in JSON"):
        configured(FORMAT | {"schemas": [str(file)]})
    with pytest.raises(ConfigError, match=r"input\.formats\[0\]\.schemas\[0\]: got .*cannot be read"):
        configured(FORMAT | {"schemas": [str(tmp_path / "missing.avsc")]})
