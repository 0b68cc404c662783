"""Messages of confluent-kafka become records."""

from typing import Any

import pytest
from confluent_kafka import Message

from exporter.events.encoding import JsonEncoder, Stamp
from exporter.events.factory import EventFactory
from exporter.model import BatchResult, FeedKey, Partition, Record
from exporter.source.messages import TRACEPARENT_BYTES, MessageReader, traced

ONE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
Headers = list[tuple[str, bytes | None]]


def read(headers: Headers | None) -> Record:
    """The record of a message with these headers."""
    given: Any = headers
    message = Message(topic="ticker", partition=1, offset=7, value=b"{}", timestamp=(1, 5), headers=given)
    [record], errors = MessageReader().read([message])
    assert not errors
    return record


@pytest.mark.parametrize(
    ("headers", "traceparent", "is_event"),
    [
        (None, None, False),
        ([], None, False),
        ([("traceparent", ONE), ("traceparent", OTHER)], ONE, False),
        ([("traceparent", b"00-1"), ("traceparent", None), ("traceparent", OTHER)], OTHER, False),
        ([("tracestate", b"a=b"), ("Traceparent", ONE)], None, False),
        ([("ce_type", b"marketdata.monitoring.MonitoringError"), ("traceparent", ONE)], ONE, True),
        ([("ce_type", b"com.example.batch"), ("ce_type", b"marketdata.monitoring.")], None, True),
        ([("ce_type", None), ("ce_type", b"marketdata.batch"), ("ce_source", b"marketdata.monitoring.")], None, False),
    ],
)
def test_headers_tell_where_a_record_comes_from(headers: Headers, traceparent: bytes | None, is_event: bool) -> None:
    assert read(headers) == Record(Partition("ticker", 1), 7, 5, b"{}", traceparent, is_event)


def test_key_and_headers_are_kept_where_a_format_reads_them() -> None:
    headers: Any = [("exchange", b"upbit"), ("empty", None)]
    message = Message(topic="ticker", partition=1, offset=7, key=b"K", value=b"{}", timestamp=(1, 5), headers=headers)
    for origin, expected in ((True, (b"K", tuple(headers))), (False, (None, ()))):
        [record], _ = MessageReader(origin=origin).read([message])
        assert (record.key, record.headers) == expected


@pytest.mark.parametrize("value", [ONE, OTHER, b"01" + ONE[2:], b"01" + ONE[2:] + b"-", b"fe" + ONE[2:] + b"-and~more"])
def test_a_traceparent_of_this_or_a_later_version_is_passed_on(value: bytes) -> None:
    assert traced(value) == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"x",
        b"\xff" * 55,
        ONE.upper(),
        ONE[:-1],
        ONE + b"1",
        ONE + b"-",
        ONE + b"\n",
        b" " + ONE,
        b"ff" + ONE[2:],
        b"0g" + ONE[2:],
        b"01" + ONE[2:] + b"x",
        b"01" + ONE[2:] + b"-\n",
        b"01" + ONE[2:] + b"-" + b"x" * TRACEPARENT_BYTES,
        ONE.replace(b"-", b"_"),
        ONE.replace(b"4bf92f3577b34da6a3ce929d0e0e4736", b"0" * 32),
        ONE.replace(b"00f067aa0ba902b7", b"0" * 16),
    ],
)
def test_what_is_no_traceparent_goes_nowhere(value: bytes | None) -> None:
    assert traced(value) is None


def test_events_are_known_by_the_headers_that_they_are_published_with() -> None:
    factory = EventFactory(JsonEncoder(), "box-1", "events", "errors")
    event = factory.batch(read(None), FeedKey("korea", "upbit", "ticker"), BatchResult(1, 1, 1.0, 5), Stamp.at(5))
    assert read(list(event.headers)).is_event
