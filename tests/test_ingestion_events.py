"""Events of ingesting services: what is checked before sending and after reading, and both encodings."""

from __future__ import annotations

import json
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.events.encoding import confluent_frame
from exporter.ingestion.encodings import SCHEMAS, decode, encode_avro, encode_json
from exporter.ingestion.events import EVENTS, PARTITIONS, ExchangeRateUpdated, check, key_of, topic_of, updated_at_ms
from tests.support.ingestion import EXAMPLES

FIELDS = [(topic, name) for topic, example in EXAMPLES.items() for name in example]
RATE = EXAMPLES["exchange_rate_updated"]
TEN_MS = 1_737_972_000_000
each_topic = pytest.mark.parametrize("topic", EVENTS)


@each_topic
def test_an_event_has_the_fields_of_its_schema(topic: str) -> None:
    named = [field["name"] for field in SCHEMAS[topic]["fields"]]
    assert list(EVENTS[topic].__struct_fields__) == named == list(EXAMPLES[topic])


def test_rates_are_spread_by_currency_and_rounds_stay_together() -> None:
    assert PARTITIONS == {
        "new_data_received": 1,
        "exchange_rate_updated": 3,
        "data_processing_completed": 1,
        "cache_invalidation": 1,
    }
    keys = [key_of(check(topic, example)) for topic, example in EXAMPLES.items()]
    assert keys == ["uuid-1234", "USD", "uuid-1234", None]


@pytest.mark.parametrize(("topic", "name"), FIELDS)
def test_a_missing_field_is_named(topic: str, name: str) -> None:
    rest = {field: value for field, value in EXAMPLES[topic].items() if field != name}
    with pytest.raises(ValueError, match=f"{topic}: Object missing required field `{name}`"):
        check(topic, rest)


@pytest.mark.parametrize(("topic", "name"), FIELDS)
@pytest.mark.parametrize("wrong", [None, True, [1], {}, "", -1])
def test_a_wrong_field_is_named(topic: str, name: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=f"^{topic}: Expected .* - at `{name}"):
        check(topic, EXAMPLES[topic] | {name: wrong})


def test_a_text_can_be_written() -> None:
    with pytest.raises(ValueError, match="currency_name"):
        check("exchange_rate_updated", RATE | {"currency_name": "\ud800"})


@pytest.mark.parametrize("code", ["*", "US D", "US\n", "[U]", "U?", "\\", "x" * 33])
def test_a_currency_is_no_pattern(code: str) -> None:
    with pytest.raises(ValueError, match="currency_code"):
        check("exchange_rate_updated", RATE | {"currency_code": code})


@pytest.mark.parametrize("code", ["USD", "JPY(100)", "원"])
def test_a_currency_is_named_as_its_source_names_it(code: str) -> None:
    assert key_of(check("exchange_rate_updated", RATE | {"currency_code": code})) == code


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.5, "1330.5"])
@pytest.mark.parametrize("name", ["deal_base_rate", "tts", "ttb"])
def test_a_rate_is_a_finite_number(name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=name):
        check("exchange_rate_updated", RATE | {name: wrong})


def test_a_rate_may_be_a_whole_number_or_a_decimal_and_its_spreads_zero() -> None:
    event = check("exchange_rate_updated", RATE | {"deal_base_rate": Decimal("1330.5"), "tts": 0, "ttb": 0})
    assert event == ExchangeRateUpdated(**RATE | {"tts": 0.0, "ttb": 0.0})


@pytest.mark.parametrize(
    "text", ["2025-01-27", "2025-01-27T10:00:00", "yesterday", "1737972000000", "2025-13-01T00:00Z"]
)
def test_a_time_has_an_offset_from_utc(text: str) -> None:
    with pytest.raises(ValueError, match=r"a time in ISO 8601 with an offset .* - at `updated_at`"):
        check("exchange_rate_updated", RATE | {"updated_at": text})


def test_times_are_those_of_the_sender_in_milliseconds() -> None:
    found = [updated_at_ms(check(topic, example)) for topic, example in EXAMPLES.items()]
    assert found == [TEN_MS, TEN_MS + 250, TEN_MS + 2000, TEN_MS + 3000]


def test_fields_of_later_versions_are_ignored() -> None:
    for topic, example in EXAMPLES.items():
        assert check(topic, {**example, "trace": {"id": 1}}) == check(topic, example)
        assert decode(topic, json.dumps({**example, "trace": 1}).encode()) == check(topic, example)


def test_another_topic_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="no event has the topic 'news': there are new_data_received, "):
        check("news", {})
    with pytest.raises(ValueError, match="no event has the topic 'news': there are new_data_received, "):
        decode("news", b"{}")


@each_topic
def test_both_encodings_are_read(topic: str) -> None:
    event = check(topic, EXAMPLES[topic])
    assert topic_of(event) == topic
    assert decode(topic, encode_avro(event)) == decode(topic, encode_json(event)) == event
    assert json.loads(encode_json(event)) == EXAMPLES[topic]


def test_what_a_registry_names_is_read_with_its_schema() -> None:
    """Also that of a later version."""
    topic = "cache_invalidation"
    later = SCHEMAS[topic] | {"fields": [{"name": "reason", "type": "string"}, *SCHEMAS[topic]["fields"]]}
    body = BytesIO()
    fastavro.schemaless_writer(body, later, EXAMPLES[topic] | {"reason": "none"})
    value = confluent_frame(7) + body.getvalue()
    assert decode(topic, value, {7: fastavro.parse_schema(later)}.__getitem__) == check(topic, EXAMPLES[topic])
    with pytest.raises(ValueError, match="there is no schema registry"):
        decode(topic, value)


@each_topic
@given(st.data())
def test_any_bytes_are_an_event_or_a_value_error(topic: str, data: st.DataObject) -> None:
    event = check(topic, EXAMPLES[topic])
    value = bytearray(data.draw(st.sampled_from([encode_avro(event), encode_json(event), b""])))
    for at in data.draw(st.lists(st.integers(0, max(len(value) - 1, 0)), max_size=3)) if value else ():
        value[at] = data.draw(st.integers(0, 255))
    value += data.draw(st.binary(max_size=3))
    try:
        found = decode(topic, bytes(value))
    except ValueError:
        return
    assert isinstance(found, EVENTS[topic])
    updated_at_ms(found)
    assert decode(topic, encode_avro(found)) == found


@given(st.lists(st.text(min_size=1, max_size=50)), st.datetimes(timezones=st.timezones()))
def test_what_was_checked_is_read_as_it_was(keys: list[str], moment: Any) -> None:
    fields = {"cache_keys": keys, "invalidation_type": "all", "invalidated_at": moment.isoformat(timespec="minutes")}
    try:
        event = check("cache_invalidation", fields)
    except ValueError:  # offsets of local mean time have seconds
        return
    assert decode("cache_invalidation", encode_avro(event)) == event
    assert msgspec.json.decode(encode_json(event)) == fields


def test_nesting_and_empty_records_are_value_errors() -> None:
    for value in (None, b"", b"[" * 100_000, b"[]", b"null", b"1"):
        with pytest.raises(ValueError, match="cache_invalidation"):
            decode("cache_invalidation", value)
