"""A record that is no batch may still name its feed: that is read within bounds, and nothing else is."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.schema import Limits
from exporter.decoding.named_feed import SEARCHED_BYTES, named_feed
from exporter.model import FeedKey
from exporter.tools.simulate import invalid_records
from tests.support.pipeline import KEY

OTHER = FeedKey("asia", "okx", "trade")
ROWS = [{"target_currency": f"S{n}", "exchange": "row", "region": "row", "request_type": "row"} for n in range(200)]
BATCH: dict[str, object] = {**KEY._asdict(), "timestamp_ms": 1, "data": ROWS}
SHORT: dict[str, object] = {**BATCH, "data": ROWS[:3]}
LAST: dict[str, object] = {"data": ROWS, **KEY._asdict(), "timestamp_ms": 1}
UNNAMED = {"empty", "not_json", "no_exchange", "endless_exchange"}
SMALL = Limits(record_bytes=1000)


def dumped(batch: object) -> bytes:
    return orjson.dumps(batch)


@pytest.mark.parametrize("kind", invalid_records.KINDS, ids=lambda kind: kind.name)
def test_garbage_names_its_feed_wherever_that_can_be_read(kind: invalid_records.InvalidMutation) -> None:
    assert named_feed(kind.apply(dict(BATCH)), Limits()) == (None if kind.name in UNNAMED else KEY)


@pytest.mark.parametrize(
    "value",
    [
        dumped({"meta": {"exchange": "x"}, **BATCH}),
        dumped({**BATCH, "data": None}),
        dumped(LAST)[:-1] + b',"rate":NaN}',
        dumped(LAST).replace(b"S7", b"\xff"),
        dumped(BATCH).replace(b'"S1"', b"NaN"),
        dumped(BATCH)[:1000],
        json.dumps(BATCH, indent=2).encode()[:1000],
        b"\xef\xbb\xbf" + dumped(BATCH),
        dumped([SHORT, SHORT]),
        dumped(BATCH) + b"\n" + dumped(BATCH),
        dumped({**BATCH, "exchange": "\u0075pbit"}),
        b'{"extra":' + b"[" * 5000 + b"]" * 5000 + b',"region":"korea","exchange":"upbit","request_type":"ticker"}',
    ],
)
def test_names_are_found_among_the_own_fields_of_a_record(value: bytes) -> None:
    assert named_feed(value, Limits()) == KEY


@pytest.mark.parametrize("batch", [BATCH, LAST])
def test_of_a_record_that_is_too_large_only_the_ends_are_read(batch: dict[str, object]) -> None:
    assert named_feed(dumped(batch), SMALL) == KEY
    padding = "-" * SEARCHED_BYTES
    assert named_feed(dumped({"a": padding, **batch, "z": padding}), SMALL) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\x00" * 5000,
        b"{" * 100_000,
        b'["' * 100_000,
        dumped({"data": ROWS}),
        dumped({"data": ROWS})[:-1],
        dumped({"data": ROWS})[:-2],
        dumped({"payload": BATCH}),
        dumped({**BATCH, "exchange": 7}),
        dumped({**BATCH, "exchange": None}),
        dumped({**BATCH, "exchange": "two words"}),
        dumped({**BATCH, "exchange": ""}),
        dumped({**BATCH, "exchange": "x" * 65}),
        dumped([]),
        dumped([SHORT, {**SHORT, **OTHER._asdict()}]),
        dumped([SHORT, {"data": ROWS}]),
        dumped([SHORT, SHORT])[:-1],
        dumped([BATCH, BATCH]),
        dumped(BATCH) + b"\n" + dumped({"data": ROWS, **OTHER._asdict()}),
        dumped({"note": json.dumps(KEY._asdict())})[:-1],
    ],
)
def test_what_names_no_feed_or_several_names_none(value: bytes | None) -> None:
    assert named_feed(value, Limits()) is None


@given(value=st.binary(max_size=300) | st.builds(lambda cut: dumped(BATCH)[:cut], st.integers(0, 3000)))
def test_any_bytes_are_looked_at_without_an_error(value: bytes) -> None:
    assert named_feed(value, Limits()) in (None, KEY)
    assert named_feed(value, SMALL) in (None, KEY)
