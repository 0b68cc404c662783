"""What `explain` makes of records that do not fit their format, as a user who writes one meets them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.tools.explain.decoders import candidates, decoder_for
from exporter.tools.explain.report import report
from exporter.tools.explain.understanding import recognised, understand
from tests.support.formats import configured, record
from tests.test_explain import line

FEED = {"region": "global", "exchange": "x", "request_type": "trade"}
NAMES = ["version", "sym", "ts", "price"]
ROW = {"symbol": "sym", "timestamp": {"field": "ts", "unit": "us"}, "price": "price"}
POSITIONS = {"topics": "t", "array": NAMES, "feed": FEED, "row": ROW}


def explained(one: dict[str, Any], value: object) -> str:
    """The text about a record of a topic that has a format."""
    config, found = configured(one), record(value)
    decoder = decoder_for("t", config)
    understood = understand(found, decoder, config.input.limits)
    return report(understood, decoder, recognised([understood], candidates("t", config), config.input.limits))


@pytest.mark.parametrize(
    ("rows", "path", "wrap"),
    [
        (None, "", lambda row: row),
        ("[]", "[].", lambda row: [row]),
        ("data", "data[].", lambda row: {"data": [row]}),
        ("a.data", "a.data[].", lambda row: {"a": {"data": [row]}}),
    ],
)
def test_positions_are_shown_by_their_names(rows: str | None, path: str, wrap: Any) -> None:
    one = POSITIONS | ({} if rows is None else {"rows": rows})
    text = explained(one, wrap([1, "BTC", 1_760_031_213_693_000, 12.5, "more"]))
    assert line(text, "price") == ["price", f"{path}price", "12.5"]
    assert f"not read: {path}version: 1" in text
    short = explained(one, wrap([1]))
    assert "missing required field `" in short
    assert line(short, "symbol") == ["symbol", f"{path}sym", "missing"]
    assert line(short, "region")[-4:] == ["outside", "of", "the", "record"]


def test_a_preset_that_finds_nothing_but_a_symbol_is_not_proposed() -> None:
    one = {"topics": "t", "rows": "[]", "feed": FEED, "row": {"symbol": "s", "last": "c"}}
    assert "\nNo known format reads it.\n" in explained(one, {"s": "A"})
    assert "preset binance-raw" in explained(one, {"s": "A", "e": "trade", "p": "1", "E": 1_760_031_213_693})


def test_an_empty_list_of_rows_is_a_batch_without_messages() -> None:
    one = {"topics": "t", "rows": "[]", "feed": FEED, "row": {"symbol": "s", "last": "c"}}
    text = explained(one, [])
    assert "accepted  global:x:trade, messages: 0" in text
    assert "not read" not in text


def test_a_time_without_an_offset_from_utc_is_refused_as_such() -> None:
    one = POSITIONS | {"array": [], "time": {"field": "at", "unit": "iso8601"}}
    text = explained(one, {"sym": "BTC", "at": "2025-10-09T17:33:33.693"})
    assert "Expected `a time with an offset from UTC`, got " + json.dumps("2025-10-09T17:33:33.693") in text
    assert "accepted" in explained(one, {"sym": "BTC", "at": "2025-10-09T17:33:33.693+0900"})
