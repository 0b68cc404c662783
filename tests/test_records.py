"""Messages of confluent-kafka become records."""

from typing import Any

import pytest
from confluent_kafka import Message

from exporter.events.encoding import JsonEncoder, Stamp
from exporter.events.factory import EventFactory
from exporter.model import BatchResult, FeedKey, Partition, Record
from exporter.records import Reader

Headers = list[tuple[str, bytes | None]]


def read(headers: Headers | None) -> Record:
    """The record of a message with these headers."""
    given: Any = headers
    message = Message(topic="ticker", partition=1, offset=7, value=b"{}", timestamp=(1, 5), headers=given)
    [record], errors = Reader().read([message])
    assert not errors
    return record


@pytest.mark.parametrize(
    ("headers", "traceparent", "is_event"),
    [
        (None, None, False),
        ([], None, False),
        ([("traceparent", b"00-1"), ("traceparent", b"00-2")], b"00-1", False),
        ([("ce_type", b"marketdata.monitoring.MonitoringError"), ("traceparent", b"00-1")], b"00-1", True),
        ([("ce_type", b"com.example.batch"), ("ce_type", b"marketdata.monitoring.")], None, True),
        ([("ce_type", None), ("ce_type", b"marketdata.batch"), ("ce_source", b"marketdata.monitoring.")], None, False),
    ],
)
def test_headers_tell_where_a_record_comes_from(headers: Headers, traceparent: bytes | None, is_event: bool) -> None:
    assert read(headers) == Record(Partition("ticker", 1), 7, 5, b"{}", traceparent, is_event)


def test_events_are_known_by_the_headers_that_they_are_published_with() -> None:
    factory = EventFactory(JsonEncoder(), "box-1", "events", "errors")
    event = factory.batch(read(None), FeedKey("korea", "upbit", "ticker"), BatchResult(1, 1, 1.0, 5), Stamp.at(5))
    assert read(list(event.headers)).is_event
