"""What an auditor reads from bytes: records by the rules, events in every encoding, counters from text."""

import json
import math
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.schema import Config, FeedsConfig, Limits
from exporter.decoding.batch_stats import BatchStats
from exporter.decoding.json_decoder import Decoder
from exporter.model import FeedKey, Partition, Reason, Rejected
from exporter.tools.audit.ledger import BatchFacts, MetricsTruth
from exporter.tools.audit.readers import (
    BatchEvent,
    EventReader,
    InputReader,
    SummaryEvent,
    UnreadableError,
    add_metrics,
)

SCHEMAS = Path(__file__).parents[1] / "exporter" / "events" / "schemas"
UPBIT = FeedKey("korea", "upbit", "ticker")
STATS = {"batch_size": 150, "unique_symbols": 25, "cache_efficiency": 0.04, "collection_timestamp_ms": 1760031213693}


def batch_event(**stats: object) -> dict[str, Any]:
    """A batch event as JSON has it."""
    return {
        "event_type": "batch_collected",
        "event_timestamp_utc": "2025-10-13T08:10:00.123Z",
        **UPBIT._asdict(),
        "stats": STATS | stats,
    }


def summary_event() -> dict[str, Any]:
    """A summary as JSON has it."""
    means = ("avg_batch_size", "avg_symbols_per_batch", "avg_cache_efficiency", "messages_per_second")
    return {
        "event_type": "performance_summary",
        "event_timestamp_utc": "2025-10-13T08:11:00.456Z",
        **UPBIT._asdict(),
        "aggregated_stats": {
            "total_batches": 1000,
            "total_messages": 15000,
            **dict.fromkeys((*means, "batches_per_minute", "elapsed_seconds"), 1.0),
        },
        "summary_period_seconds": 60,
    }


def error_event() -> dict[str, Any]:
    """An error event as JSON has it, with what has a default left out."""
    names = ("error_domain", "error_code", "reason", "message")
    return {"event_type": "error", "event_timestamp_utc": "2025-10-13T08:11:00Z", **dict.fromkeys(names, "empty")}


def schema(name: str) -> Any:
    """The schema that ships under this name."""
    return fastavro.schema.load_schema(str(SCHEMAS / f"{name}.avsc"))


def avro(name: str, event: dict[str, Any]) -> bytes:
    """The event in Avro, without a frame."""
    out = BytesIO()
    fastavro.schemaless_writer(out, schema(name), event)
    return out.getvalue()


def single_object(name: str, event: dict[str, Any]) -> bytes:
    """The event in single-object encoding."""
    canonical = fastavro.schema.to_parsing_canonical_form(schema(name))
    crc = int.from_bytes(bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")), "little")
    return b"\xc3\x01" + struct.pack("<Q", crc) + avro(name, event)


def encodings(name: str, event: dict[str, Any]) -> list[bytes]:
    """The event in each encoding that the sidecar offers."""
    return [single_object(name, event), struct.pack(">bI", 0, 7) + avro(name, event), json.dumps(event).encode()]


HEADERS = [("ce_type", b"batch_collected"), ("ce_id", b"ticker-data.korea/1/12")]


def test_events_are_read_in_every_encoding() -> None:
    """The same facts come out of each."""
    reader = EventReader()
    facts = BatchFacts(UPBIT, 150, 25, 0.04, 1760031213693)
    for value in encodings("batch_collected", batch_event()):
        assert reader.read(value, HEADERS) == BatchEvent(Partition("ticker-data.korea", 1), 12, facts)
    for value in encodings("performance_summary", summary_event()):
        assert reader.read(value, None) == SummaryEvent(UPBIT, 1000, 15000)
    for value in encodings("error", error_event()):
        assert reader.read(value, None) is None


@pytest.mark.parametrize("encoding", range(3), ids=["single_object", "confluent", "json"])
@given(data=st.data())
def test_event_that_was_cut_is_unreadable(encoding: int, data: st.DataObject) -> None:
    """Wherever the cut is."""
    value = encodings("batch_collected", batch_event())[encoding]
    with pytest.raises(UnreadableError):
        EventReader().read(value[: data.draw(st.integers(0, len(value) - 1))], HEADERS)


@given(st.sampled_from((b"", b"\xc3\x01", b"\x00\x00\x00\x00\x07", b"{")), st.binary())
def test_anything_else_is_unreadable_and_raises_nothing_else(frame: bytes, rest: bytes) -> None:
    """Whatever frame it begins with."""
    with pytest.raises(UnreadableError):
        EventReader().read(frame + rest, HEADERS)


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(batch_event(batch_size=1.0)).encode(),
        json.dumps(batch_event(batch_size=True)).encode(),
        json.dumps(batch_event(batch_size=2**63)).encode(),
        json.dumps(batch_event(cache_efficiency=None)).encode(),
        json.dumps(batch_event() | {"region": 7}).encode(),
        json.dumps(batch_event() | {"event_type": "other"}).encode(),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        single_object("batch_collected", batch_event()) + b"\x00",
        single_object("batch_collected", batch_event() | {"event_type": "error"}),
        single_object("batch_collected", batch_event()).replace(b"\xc3\x01", b"\xc3\x01\x00", 1),
    ],
)
def test_event_with_wrong_contents_is_unreadable(value: bytes) -> None:
    """Types, event types and frames are what the schema says."""
    with pytest.raises(UnreadableError):
        EventReader().read(value, HEADERS)


@pytest.mark.parametrize("identity", [None, b"", b"12", b"ticker-data.korea/x/12", b"ticker-data.korea/1/"])
def test_batch_event_without_a_place_is_unreadable(identity: bytes | None) -> None:
    """It cannot be known what it is about."""
    headers = [] if identity is None else [("ce_id", identity)]
    with pytest.raises(UnreadableError):
        EventReader().read(json.dumps(batch_event()).encode(), headers)


def batch_record(**fields: object) -> bytes:
    """An input record with three messages about two symbols."""
    rows = [{"target_currency": name, "timestamp": 1} for name in ("KRW-BTC", "KRW-ETH", "KRW-BTC")]
    return json.dumps({**UPBIT._asdict(), "timestamp_ms": 1000, "batch_size": 99, "data": rows, **fields}).encode()


def test_records_are_judged_by_what_they_hold() -> None:
    """Never by the size that they declare."""
    judge = InputReader(Config())
    assert judge.facts(batch_record()) == BatchFacts(UPBIT, 3, 2, 0.5, 1000)
    assert judge.facts(batch_record(data=[])) == BatchFacts(UPBIT, 0, 0, 0.0, 1000)
    assert judge.facts(batch_record(extra=10**400)) == BatchFacts(UPBIT, 3, 2, 0.5, 1000)
    assert judge.facts(batch_record(extra="@").replace(b"@", b"\xff")) == BatchFacts(UPBIT, 3, 2, 0.5, 1000)


@pytest.mark.parametrize(
    "stamp", [1_760_031_213_693.0, "1760031213693", "+1,760,031,213,693 ", "2025-10-09T17:33:33.693Z"], ids=repr
)
def test_records_say_the_same_however_their_stamp_is_written(stamp: object) -> None:
    """As the sidecar reads it."""
    facts = InputReader(Config()).facts(batch_record(timestamp_ms=stamp))
    assert facts == BatchFacts(UPBIT, 3, 2, 0.5, 1_760_031_213_693)
    assert type(facts.timestamp_ms) is int


ODD_NUMBERS: list[Any] = ["", "1,234.5", "+1.5", True, None, 10**400, 1e300, math.nan, -math.inf, [], "NaN"]
NUMBER = st.sampled_from(ODD_NUMBERS) | st.text()
ROW = st.fixed_dictionaries(
    {"target_currency": st.sampled_from(["A", "B", 'NaN"', "\\Infinity"])},
    optional=dict.fromkeys(["timestamp", "last", "price", "note"], NUMBER) | {"asks": st.lists(st.lists(NUMBER))},
)
STAMP = st.sampled_from(
    [0, 1.0, 1.5, "7", " 7e0 ", "1970-01-01T00:00:00.007Z", "1970-01-01", math.nan, None, True, -1, 10**20, "9" * 5000]
)


@given(
    rows=st.lists(ROW, max_size=4),
    fields=st.fixed_dictionaries({}, optional={"timestamp_ms": STAMP, "batch_size": NUMBER, "note": NUMBER}),
    front=st.sampled_from([b"", b"\xef\xbb\xbf", b" "]),
    end=st.sampled_from([b"", b"x"]),
)
def test_the_auditor_and_the_sidecar_agree_on_any_record(
    rows: list[dict[str, object]], fields: dict[str, object], front: bytes, end: bytes
) -> None:
    """On which are batches, and on what is counted of those."""
    value = front + batch_record(data=rows, **fields).replace(b'"NaN"', b"nan") + end
    judged, counted = verdicts(value)
    assert judged == counted
    if isinstance(judged, BatchFacts):
        assert type(judged.timestamp_ms) is int


def verdicts(value: bytes) -> tuple[BatchFacts | Reason | None, BatchFacts | Reason]:
    """What the auditor says of a record, and what the sidecar counts."""
    judged: BatchFacts | Reason | None
    try:
        judged = InputReader(Config()).facts(value)
    except Rejected as rejected:
        judged = rejected.reason
    try:
        batch = Decoder(Limits()).decode(value)
    except Rejected as rejected:
        return judged, rejected.reason
    return judged, BatchFacts(FeedKey(batch.region, batch.exchange, batch.request_type), *BatchStats(batch).result)


@pytest.mark.parametrize(
    "field",
    [
        b'"note":' + b"9" * 5000,
        b'"note":1e400',
        b'"note":NaN',
        b'"note":[nan,-inf]',
        b'"data":[{"target_currency":"A","last":' + b"9" * 5000 + b"}]",
        b'"NaN\xff":"\xff"',
    ],
)
def test_what_generic_readers_refuse_is_judged_as_the_sidecar_counts_it(field: bytes) -> None:
    """Endless digits, literals that are no JSON, bytes that are no UTF-8."""
    judged, counted = verdicts(batch_record()[:-1] + b"," + field + b"}")
    assert isinstance(judged, BatchFacts)
    assert judged == counted


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EMPTY),
        (batch_record()[:-1], Reason.INVALID_JSON),
        (batch_record(exchange="up bit"), Reason.INVALID_FEED),
        (batch_record(data=[{"target_currency": "x" * 65}]), Reason.INVALID_SYMBOL),
        (batch_record(extra=[[[]]] * 1_000_000), Reason.TOO_LARGE),
    ],
)
def test_records_that_break_the_rules_are_rejected(value: bytes | None, reason: Reason) -> None:
    """By the limits of the configuration."""
    with pytest.raises(Rejected) as rejected:
        InputReader(Config()).facts(value)
    assert rejected.value.reason == reason


def test_feeds_that_are_not_wanted_have_no_facts() -> None:
    """By the globs of the configuration."""
    assert InputReader(Config(feeds=FeedsConfig(exclude=("korea:*",)))).facts(batch_record()) is None


def test_metrics_of_replicas_are_added() -> None:
    """Over reasons and over processes; other families do not matter."""
    text = """# TYPE marketdata_batches_total counter
marketdata_batches_total{region="korea",exchange="upbit",request_type="ticker"} 3
# TYPE marketdata_messages_total counter
marketdata_messages_total{region="korea",exchange="upbit",request_type="ticker"} 60
# TYPE marketdata_records_total counter
marketdata_records_total{topic="ticker-data.korea"} 5
# TYPE marketdata_records_rejected_total counter
marketdata_records_rejected_total{topic="ticker-data.korea",reason="empty"} 1
marketdata_records_rejected_total{topic="ticker-data.korea",reason="too_deep"} 1
# TYPE other_total counter
other_total 7
"""
    truth = MetricsTruth()
    add_metrics(text, truth)
    add_metrics(text, truth)
    assert (dict(truth.batches), dict(truth.messages)) == ({UPBIT: 6}, {UPBIT: 120})
    assert (dict(truth.records), dict(truth.rejected)) == ({"ticker-data.korea": 10}, {"ticker-data.korea": 4})


@pytest.mark.parametrize(
    "text", ["<html>", "marketdata_batches_total 3\n", 'marketdata_records_total{topic="a"} NaN\n']
)
def test_text_that_is_no_exposition_is_unreadable(text: str) -> None:
    """Or one without the labels that the sidecar gives."""
    with pytest.raises(UnreadableError):
        add_metrics(text, MetricsTruth())
