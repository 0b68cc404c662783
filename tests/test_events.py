"""Events hold what was analyzed, in Avro and JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.decoding.batch import MAX_TIMESTAMP_MS
from exporter.events.encoding import AvroEncoder, JsonEncoder, Stamp, avro_long, avro_text, utc_text
from exporter.events.factory import EventFactory
from exporter.events.values import (
    EXCERPT_BYTES,
    batch_value,
    error_value,
    excerpt,
    load_schema,
    summary_value,
)
from exporter.feeds.feed import Window
from exporter.model import BatchResult, EventType, FeedKey, Partition, Reason, Record, Rejected

KEY = FeedKey("korea", "upbit", "ticker")
RESULT = BatchResult(150, 25, 0.04, 1_760_031_213_693)
NOW_MS = 1_760_343_000_123
NOW = "2025-10-13T08:10:00.123Z"
SOURCE = Partition("ticker-data.korea", 3)

LONGS = st.integers(-(2**63), 2**63 - 1)
SIZES = st.integers(0, 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FEEDS = st.builds(FeedKey, TEXT, TEXT, TEXT)
RESULTS = st.builds(BatchResult, SIZES, SIZES, st.floats(), LONGS)
TIMES = st.integers(0, MAX_TIMESTAMP_MS)


def window(batches: int = 0, messages: int = 0, unique_sum: int = 0, efficiency_sum: float = 0.0) -> Window:
    made = Window()
    made.batches, made.messages, made.unique_sum, made.efficiency_sum = batches, messages, unique_sum, efficiency_sum
    return made


def record(value: bytes | None = b"{", traceparent: bytes | None = None) -> Record:
    return Record(SOURCE, 42, NOW_MS, value, traceparent)


def factory(encoder: AvroEncoder | JsonEncoder) -> EventFactory:
    return EventFactory(encoder, "box-1", "events", "errors")


def written(schema: dict[str, Any], value: dict[str, Any]) -> bytes:
    """The body as fastavro writes it in strict mode: with exactly the fields of the schema."""
    out = BytesIO()
    fastavro.schemaless_writer(out, schema, value, strict=True)
    return out.getvalue()


def read(body: bytes, writer: dict[str, Any], reader: dict[str, Any] | None = None) -> Any:
    return fastavro.schemaless_reader(BytesIO(body), writer, reader)


VALUES: dict[EventType, st.SearchStrategy[dict[str, Any]]] = {
    EventType.BATCH: st.builds(batch_value, FEEDS, RESULTS, TIMES.map(utc_text)),
    EventType.SUMMARY: st.builds(
        summary_value,
        FEEDS,
        st.builds(window, *[st.integers(0, 2**40)] * 3, st.floats(0, 1e9)),
        st.floats(0, 1e9),
        st.integers(1, 86_400),
        TIMES.map(utc_text),
    ),
    EventType.ERROR: st.builds(
        error_value, st.sampled_from(Reason), TEXT, TIMES.map(utc_text), topic=TEXT, offset=LONGS, excerpt=TEXT
    ),
}
ANY_EVENT = st.sampled_from(EventType).flatmap(lambda kind: VALUES[kind].map(lambda value: (kind, value)))


# Bodies.


@given(feed=FEEDS, result=RESULTS, now_ms=TIMES)
@example(feed=KEY, result=BatchResult(4095, 4096, 0.5, 0), now_ms=0)
def test_the_quick_body_of_a_batch_event_is_the_one_that_fastavro_writes(
    feed: FeedKey, result: BatchResult, now_ms: int
) -> None:
    """By both cores, where the native one is installed."""
    stamp = Stamp.at(now_ms)
    body = written(load_schema(EventType.BATCH), batch_value(feed, result, stamp.text))
    for encoder in (AvroEncoder(), AvroEncoder(core="auto")):
        assert encoder.encode_batch(feed, result, stamp) == body
        assert encoder.encode_batch(feed, result, stamp) == body, "the second one comes out of the encoder's memory"


@given(number=LONGS, text=TEXT)
def test_numbers_and_texts_are_avro(number: int, text: str) -> None:
    assert read(avro_long(number), {"type": "long"}) == number
    assert read(avro_text(text), {"type": "string"}) == text


@given(event=ANY_EVENT)
def test_values_have_exactly_the_fields_of_their_schema(event: tuple[EventType, dict[str, Any]]) -> None:
    kind, value = event
    assert AvroEncoder().encode(kind, value) == written(load_schema(kind), value)


@given(feed=FEEDS, result=st.builds(BatchResult, SIZES, SIZES, st.floats(0, 1), LONGS))
def test_json_has_the_same_values_as_avro(feed: FeedKey, result: BatchResult) -> None:
    stamp = Stamp.at(NOW_MS)
    body = AvroEncoder().encode_batch(feed, result, stamp)
    assert json.loads(JsonEncoder().encode_batch(feed, result, stamp)) == read(body, load_schema(EventType.BATCH))


def test_a_batch_event_has_the_documented_values() -> None:
    event = factory(JsonEncoder()).batch(record(), KEY, RESULT, Stamp.at(NOW_MS))
    assert json.loads(event.body) == {
        "event_type": "batch_collected",
        "event_timestamp_utc": NOW,
        "region": "korea",
        "exchange": "upbit",
        "request_type": "ticker",
        "stats": {
            "batch_size": 150,
            "unique_symbols": 25,
            "cache_efficiency": 0.04,
            "collection_timestamp_ms": 1760031213693,
        },
    }


def test_a_summary_has_the_documented_values() -> None:
    value = summary_value(KEY, window(1000, 15_000, 10_500, 95.0), 60.0, 60, NOW)
    assert value == {
        "event_type": "performance_summary",
        "event_timestamp_utc": NOW,
        "region": "korea",
        "exchange": "upbit",
        "request_type": "ticker",
        "aggregated_stats": {
            "total_batches": 1000,
            "total_messages": 15000,
            "avg_batch_size": 15.0,
            "avg_symbols_per_batch": 10.5,
            "avg_cache_efficiency": 0.095,
            "messages_per_second": 250.0,
            "batches_per_minute": 1000.0,
            "elapsed_seconds": 60.0,
        },
        "summary_period_seconds": 60,
    }


@pytest.mark.parametrize("elapsed", [0.0, -5.0, 60.0])
def test_a_silent_feed_has_zeros_however_short_the_interval(elapsed: float) -> None:
    stats = summary_value(KEY, window(), elapsed, 60, NOW)["aggregated_stats"]
    assert stats.pop("elapsed_seconds") == max(elapsed, 0.001)
    assert set(stats.values()) == {0}


@given(time_ms=TIMES)
def test_times_are_iso_8601_in_utc_with_milliseconds(time_ms: int) -> None:
    text = utc_text(time_ms)
    assert datetime.fromisoformat(text) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    assert len(text) == len(NOW)


def test_a_stamp_is_one_moment_in_three_forms() -> None:
    assert Stamp.at(NOW_MS) == (NOW, NOW.encode(), avro_text(NOW))


# Headers and places.


@pytest.mark.parametrize("encoder", [AvroEncoder(), JsonEncoder()], ids=["avro", "json"])
def test_events_carry_the_headers_of_cloud_events(encoder: AvroEncoder | JsonEncoder) -> None:
    made = factory(encoder)
    summary = made.summary(KEY, {SOURCE: (window(), NOW_MS - 60_000)}, NOW_MS, 60)
    rejected = made.rejected(record(), Rejected(Reason.INVALID_JSON, "bad"), 0, NOW)
    batch = made.batch(record(), KEY, RESULT, Stamp.at(NOW_MS))
    for event, identity in (
        (batch, b"ticker-data.korea/3/42"),
        (rejected, b"ticker-data.korea/3/42"),
        (summary, b"box-1/korea:upbit:ticker/" + NOW.encode()),
    ):
        assert dict(event.headers) == {
            "ce_specversion": b"1.0",
            "ce_source": b"box-1",
            "ce_type": b"marketdata.monitoring." + event.type.value.encode(),
            "ce_id": identity,
            "ce_time": NOW.encode(),
            "content-type": encoder.content_type,
        }
        assert len(event.headers) == 6
        assert event.source == SOURCE
    assert [(event.topic, event.key) for event in (batch, summary, rejected)] == [
        ("events", b"korea:upbit:ticker"),
        ("events", b"korea:upbit:ticker"),
        ("errors", b"ticker-data.korea/3/42"),
    ]


def test_a_traceparent_is_passed_through() -> None:
    def passed(traceparent: bytes | None) -> bytes | None:
        event = factory(AvroEncoder()).batch(record(traceparent=traceparent), KEY, RESULT, Stamp.at(NOW_MS))
        return dict(event.headers).get("traceparent")

    one = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert passed(one) == one
    assert passed(None) is None


# Errors.


@given(value=st.none() | st.binary(max_size=2 * EXCERPT_BYTES))
@example(value=b'"\\\n\x00\x7f\xff\xc3\xa9')
def test_an_excerpt_is_the_start_of_the_record_in_printable_ascii(value: bytes | None) -> None:
    text = excerpt(value)
    assert text.isascii()
    assert text.isprintable()
    assert text.encode().decode("unicode_escape").encode("latin-1") == (value or b"")[:EXCERPT_BYTES]


@given(fill=st.binary(min_size=1, max_size=4), detail=TEXT)
def test_an_error_event_is_small_and_quotes_no_more_than_the_excerpt(fill: bytes, detail: str) -> None:
    value = (fill * EXCERPT_BYTES)[:EXCERPT_BYTES] + b"password=hunter2" + fill * 100_000
    rejected = Rejected(Reason.INVALID_JSON, detail * 1000)
    event = factory(JsonEncoder()).rejected(record(value), rejected, 7, NOW)
    told = json.loads(event.body)
    assert told == {
        "event_type": "error",
        "event_timestamp_utc": NOW,
        "error_domain": "monitoring",
        "error_code": "monitoring_error",
        "reason": "invalid_json",
        "message": (detail * 1000)[:500],
        "topic": "ticker-data.korea",
        "partition": 3,
        "offset": 42,
        "excerpt": excerpt(value),
        "suppressed": 7,
    }
    assert "hunter2" not in told["excerpt"]
    assert len(told["excerpt"]) <= 4 * EXCERPT_BYTES


def test_a_summary_over_which_the_clock_was_set_back_took_the_usual_time() -> None:
    """Rates are not a thousand times what they were."""
    summary = factory(JsonEncoder()).summary(KEY, {SOURCE: (window(30, 300), NOW_MS)}, NOW_MS - 86_400_000, 60)
    stats = json.loads(summary.body)["aggregated_stats"]
    assert (stats["elapsed_seconds"], stats["messages_per_second"], stats["batches_per_minute"]) == (60, 5, 30)


def test_a_summary_is_built_again_without_lost_partitions() -> None:
    made, other = factory(JsonEncoder()), Partition("ticker-data.korea", 7)
    summary = made.summary(KEY, {SOURCE: (window(), 0), other: (window(), 30_000)}, 60_000, 60)
    rest = summary.without({SOURCE})
    assert rest is not None
    assert rest.body == made.summary(KEY, {other: (window(), 30_000)}, 60_000, 60).body
    assert rest.source == other
    assert rest.without({other}) is None
    assert summary.without({SOURCE, other}) is None
