"""Every mistake in `input.formats` is an error at the start, with its path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.config.loader import ConfigError, load
from exporter.config.presets import presets
from exporter.config.schema import OutputConfig
from exporter.decoding.record_decoder import batch_events
from tests.support.formats import CONFIG, configured

FEED = {"region": "global", "exchange": "kraken", "request_type": "trade"}
ONE: dict[str, Any] = {"topics": "t", "feed": FEED, "row": {"symbol": "s"}}


def mistakes(*formats: object) -> list[str]:
    """Return what is wrong with formats, each with its path."""
    with pytest.raises(ConfigError) as caught:
        configured(*formats)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def test_a_format_needs_topics_a_feed_and_a_symbol() -> None:
    assert [one.partition(",")[0] for one in mistakes({})] == [
        "input.formats[0].topics: missing",
        "input.formats[0].feed: missing",
        "input.formats[0].row: missing",
    ]
    assert configured(ONE).input.formats[0].time.field is None


ROW = {"symbol": "s", "timestamp": {"field": "T", "unit": "us"}}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"encoding": "avro"}, 'encoding: got "avro", expected json, msgpack, avro-confluent or avro-single-object'),
    ({"numbers": "both"}, 'numbers: got "both", expected strict or text'),
    ({"nonsense": 1}, "nonsense: unknown key"),
    ({"topics": r"^a\d"}, r"topics[0]: got "),
    ({"topics": "other"}, ""),
    ({"topics": "^a(?P<x>b)(?P<x>c)"}, "topics[0]: got "),
    ({"row": ROW | {"timestamp": {"field": "T", "unit": "m"}}}, 'row.timestamp.unit: got "m", expected s, ms, us, ns'),
    ({"row": ROW | {"last": "a..b"}}, 'row.last.field[0]: got "a..b", expected a field'),
    ({"row": ROW | {"last": []}}, "row.last.field: got an empty list, expected a field or a list of 1 to 16 fields"),
    ({"row": ROW | {"last": "s"}}, 'row.last.field: got "s", which row.symbol.field reads as text'),
    ({"row": ROW | {"asks": "T.a"}}, 'row.asks.field: got "T.a", but row.timestamp.field reads "T" as a number'),
    ({"row": ROW | {"lst": "c"}}, "row.lst: unknown key"),
    ({"row": {"symbol": {"topic": "x"}}}, 'row.symbol.topic: got "x", which is no group of "t"'),
    ({"row": {"symbol": {"key": "[A-Z]"}}}, "row.symbol.key: got "),
    ({"row": {"symbol": {"key": "^(a"}}}, "row.symbol.key: got "),
    ({"row": {"symbol": {"field": "a", "header": "b"}}}, "row.symbol: got header and field, expected a constant, or"),
    ({"row": {"symbol": {"case": "lower"}}}, "row.symbol: got none of them"),
    (
        {"row": {"symbol": {"field": "a", "case": "title"}}},
        'row.symbol.case: got "title", expected null or lower or upper',
    ),
    ({"feed": FEED | {"region": {"topic": "x"}}}, 'feed.region.topic: got "x", which is no group of "t"'),
    ({"feed": FEED | {"kind": "x"}}, "feed.kind: unknown key"),
    ({"time": {"field": "T", "unit": "min"}}, 'time.unit: got "min"'),
    ({"time": {"field": "T", "kafka": True}}, "time: got field and kafka, expected one of them"),
    ({"time": {"row": "newest"}}, "time.row: the rows have no timestamp"),
    ({"time": {"row": "oldest"}}, 'time.row: got "oldest", expected null or newest'),
    ({"skip": {"type": []}}, "skip.type: got an empty list, expected text or a list of texts"),
    ({"skip": {"a..b": "x"}}, 'skip: got "a..b", expected a field'),
    ({"text_rows": True}, "text_rows: goes with rows and encoding json"),
    ({"batch_size": "n"}, "batch_size: a record that is one row has no size"),
    ({"array": ["s", "s"]}, "array: got a name twice"),
    ({"array": ["T"]}, 'row.symbol.field: got "s", expected one of the names in array'),
    ({"rows": "[]", "time": "T"}, "time.field: a record that is a list has no field T"),
    ({"encoding": "avro-confluent"}, "schema_registry: missing, expected with encoding avro-confluent"),
    ({"schema_registry": "http://registry:8081"}, "schema_registry: goes with encoding avro-confluent"),
    ({"encoding": "avro-single-object"}, "schemas: missing, expected with encoding avro-single-object"),
    ({"batch_events": "some"}, 'batch_events: got "some", expected null or true or false'),
    ({"preset": "nix"}, 'preset: got "nix", expected one of binance, '),
]


@pytest.mark.parametrize(("change", "expected"), [each for each in WRONG if each[1]])
def test_a_mistake_in_a_format_is_told_with_its_path(change: dict[str, Any], expected: str) -> None:
    found = mistakes(ONE, ONE | change)
    assert any(one.startswith(f"input.formats[1].{expected}") for one in found), found


AVRO = ONE | {"encoding": "avro-confluent"}


@pytest.mark.parametrize(
    ("url", "tls", "expected"),
    [
        ("http", {"ca_file": "x"}, "ca_file: goes with a URL that begins with https"),
        ("https", {"key_file": "x"}, "key_file: is the key of a certificate, expected cert_file beside it"),
        ("https", {"ca_file": "missing"}, 'ca_file: got "missing", which cannot be read: No such file or directory'),
        ("https", {"ca_file": "other"}, 'ca_file: got "other", which is no PEM file'),
        ("https", {"cert_file": "binary"}, 'cert_file: got "binary", which is no PEM file'),
        ("https", {"cert_file": "encrypted"}, 'cert_file: got "encrypted", whose key has a passphrase'),
        ("https", {"ca": "x"}, "ca: unknown key"),
    ],
)
def test_a_mistake_in_the_files_of_a_registry_is_told_with_its_path(url: str, tls: object, expected: str) -> None:
    registry = {"url": f"{url}://registry:8081", "tls": tls}
    given = CONFIG | {"input": CONFIG["input"] | {"formats": [AVRO | {"schema_registry": registry}]}}
    with pytest.raises(ConfigError) as caught:
        load(json.dumps(given), {}, {}, hostname="x", read_file=content)
    found = [f"{problem.path}: {problem.message}" for problem in caught.value.problems]
    assert any(one.startswith(f"input.formats[0].schema_registry.tls.{expected}") for one in found), found


def content(path: str) -> str:
    """What the files are like that have these names."""
    if path == "missing":
        raise FileNotFoundError(2, "No such file or directory", path)
    if path == "binary":
        raise ValueError("no text")
    pem = "-----BEGIN CERTIFICATE-----\n"
    return {"other": "hello", "encrypted": f"{pem}-----BEGIN ENCRYPTED PRIVATE KEY-----\n"}.get(path, pem)


def test_files_of_a_registry_of_events_go_with_https() -> None:
    output = {"schema_registry": "http://registry:8081", "schema_registry_tls": {"ca_file": "x", "key_file": "y"}}
    with pytest.raises(ConfigError) as caught:
        load(json.dumps({"output": output}), {}, {}, hostname="x", read_file=str)
    assert [problem.path for problem in caught.value.problems] == [
        "output.schema_registry_tls.ca_file",
        "output.schema_registry_tls.key_file",
    ]


def test_a_format_for_a_topic_that_is_not_read_is_an_error() -> None:
    (found,) = mistakes(ONE | {"topics": "_t"})
    assert found == 'input.formats: got a format for "_t", which input.topics does not have'


def test_an_entry_behind_a_preset_keeps_its_number() -> None:
    assert len(configured("cryptofeed", ONE).input.formats) == 5
    (found,) = mistakes("cryptofeed", ONE | {"time": {"unit": "h", "field": "T"}})
    assert found.startswith("input.formats[1].time.unit")


def test_what_is_wrong_for_all_parts_of_a_preset_is_told_once() -> None:
    (found,) = mistakes({"preset": "cryptofeed", "encoding": "xml"})
    assert found.startswith("input.formats[0].encoding")


def test_presets_that_know_neither_topics_nor_exchange_ask_for_them() -> None:
    assert [one.partition(",")[0] for one in mistakes("ccxt")] == [
        "input.formats[0].topics: missing",
        "input.formats[0].feed.exchange: missing",
    ]


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_is_valid(name: str) -> None:
    assert configured({"preset": name, "topics": "^t", "feed": {"exchange": "x"}}).input.formats


def test_passwords_of_registries_are_not_shown() -> None:
    registry = {"url": "http://u:hunter2@registry:8081"}
    config = configured(ONE | {"encoding": "avro-confluent", "schema_registry": registry})
    assert "hunter2" not in repr(config)
    registry = {"url": "http://registry:8081", "username": "me", "password": "hunter2"}
    formats = [ONE | {"encoding": "avro-confluent", "schema_registry": registry}]
    given = CONFIG | {"input": {"topics": ["t"], "formats": formats}}
    assert "hunter2" not in repr(load(json.dumps(given), {}, {}, hostname="x", read_file=str))


@pytest.mark.parametrize(
    ("output", "one", "has_events"),
    [
        (True, ONE, False),
        (True, ONE | {"rows": "data"}, True),
        (True, ONE | {"batch_events": True}, True),
        (True, ONE | {"rows": "data", "batch_events": False}, False),
        (False, ONE | {"rows": "data"}, False),
        (False, ONE | {"batch_events": True}, True),
    ],
)
def test_batches_of_one_row_have_no_events_unless_they_are_asked_for(
    output: bool, one: dict[str, Any], has_events: bool
) -> None:
    has = batch_events(configured(one).input, OutputConfig(batch_events=output))
    assert (has("t"), has("usual")) == (has_events, output)


def test_formats_come_from_the_environment_too() -> None:
    env = {"MARKETDATA_INPUT__FORMATS": "[cryptofeed-trade, {preset: kraken, topics: ticker-data.x}]", "PASSWORD": "p"}
    config = load("input: {formats: [ccxt-pro]}", env, {}, hostname="x", read_file=str)
    assert [one.preset for one in config.input.formats] == ["cryptofeed-trade", "kraken"]
