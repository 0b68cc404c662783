"""Events ready for Kafka: their topic, key and CloudEvents headers. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from exporter.events.encoding import CACHED_FEEDS, Encoder, Stamp, avro_names, avro_text, utc_text
from exporter.events.values import error_value, excerpt, summary_value
from exporter.feeds.feed import Window
from exporter.model import (
    EVENT_PREFIX,
    AnyEventType,
    BatchResult,
    EventType,
    FeedKey,
    Partition,
    Record,
    Rejected,
    Reset,
    ResetCause,
)
from exporter.runtime.foreign_text import masked

NOT_DELIVERED = "not_delivered"
# Access to a member of an enum takes longer than building all the headers of an event.
_BATCH = EventType.BATCH
RESETS = {
    ResetCause.RECORDS_DELETED: "records from this offset on were deleted before they were read",
    ResetCause.TOPIC_RECREATED: "the topic was deleted and created again, and is read from its beginning",
    ResetCause.LOG_TRUNCATED: "the brokers lost records that were already read; the records after them are read",
    ResetCause.TOPIC_DELETED: "the topic was deleted",
    ResetCause.RECORDS_UNREADABLE: "records from this offset on cannot be read and were stepped over",
}


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event, ready for Kafka except for the frame before its body.

    `source` is the partition whose record it is about: the owner of the partition publishes it. A summary is about
    several partitions; `rest` returns the summary without some of them, None when none is left.
    """

    type: AnyEventType
    topic: str
    key: bytes
    body: bytes
    headers: list[tuple[str, bytes]]
    source: Partition
    rest: Callable[[Container[Partition]], Event | None] | None = None

    def without(self, partitions: Container[Partition]) -> Event | None:
        """Return the event without what belongs to these partitions; None when nothing is left."""
        if self.rest is not None:
            return self.rest(partitions)
        return None if self.source in partitions else self


@lru_cache(maxsize=CACHED_FEEDS)
def _key(feed: FeedKey) -> bytes:
    return str(feed).encode()


@lru_cache(maxsize=CACHED_FEEDS)
def _place(partition: Partition) -> bytes:
    return f"{partition}/".encode()


class EventFactory:
    """Factory of the events of one sidecar, with topics, keys and CloudEvents headers (binary mode).

    `instance` is the `ce_source`. The `ce_id` of an event is topic, partition and offset of its record, so that a
    consumer can drop duplicates; the `ce_id` of a summary is instance, feed and the end of its interval.
    """

    def __init__(self, encoder: Encoder, instance: str, topic: str, error_topic: str) -> None:
        self._encoder = encoder
        self._instance = instance
        self._topic = topic
        self._error_topic = error_topic
        common = [("ce_specversion", b"1.0"), ("ce_source", instance.encode()), ("content-type", encoder.content_type)]
        self._common = {
            event_type: [*common, ("ce_type", EVENT_PREFIX + event_type.encode())] for event_type in EventType
        }

    def batch(self, record: Record, feed: FeedKey, result: BatchResult, stamp: Stamp) -> Event:
        """Return the event of one accepted batch."""
        headers = [
            *self._common[_BATCH],
            ("ce_id", b"%b%d" % (_place(record.partition), record.offset)),
            ("ce_time", stamp.header),
        ]
        if record.traceparent is not None:
            headers.append(("traceparent", record.traceparent))
        body = self._encoder.encode_batch(feed, result, stamp)
        return Event(_BATCH, self._topic, _key(feed), body, headers, record.partition)

    @property
    def core(self) -> Any:
        """The native core if that makes the events of batches, otherwise None."""
        return self._encoder.core

    def native_events(self, core: Any) -> Any:
        """Return what all events of batches have in common, as the native core takes it."""
        return core.Events(Event, _BATCH, self._topic, self._common[_BATCH], avro_text(_BATCH))

    def native_names(self, feed: FeedKey, partition: Partition) -> tuple[tuple[Partition, bytes], bytes, bytes]:
        """Return what the events of a feed on a partition have in common, as the native core takes it."""
        return (partition, _place(partition)), avro_names(feed), _key(feed)

    def summary(
        self, feed: FeedKey, parts: Mapping[Partition, tuple[Window, int]], now_ms: int, period_seconds: int
    ) -> Event:
        """Return the summary of a feed from its partitions, each with its window and the start of that in Unix ms."""
        window = Window()
        for part, _ in parts.values():
            window.merge(part)
        elapsed_ms = now_ms - min(since_ms for _, since_ms in parts.values())
        # If the clock was set back meanwhile, the configured period is the best estimate.
        elapsed = elapsed_ms / 1000 if elapsed_ms >= 0 else period_seconds
        value = summary_value(feed, window, elapsed, period_seconds, utc_text(now_ms))
        identity = f"{self._instance}/{feed}/{value['event_timestamp_utc']}"

        def rest(gone: Container[Partition]) -> Event | None:
            kept = {partition: part for partition, part in parts.items() if partition not in gone}
            return self.summary(feed, kept, now_ms, period_seconds) if kept else None

        event = self._event(EventType.SUMMARY, self._topic, str(feed).encode(), identity, value, min(parts))
        return msgspec.structs.replace(event, rest=rest)

    def rejected(self, record: Record, rejected: Rejected, suppressed: int, time_utc: str) -> Event:
        """Return the error event of a record that is not a valid batch."""
        topic, number = record.partition
        place: dict[str, str | int | None] = {"topic": topic, "partition": number, "offset": record.offset}
        quoted = masked(excerpt(record.value, rejected.position))
        value = error_value(rejected.reason, rejected.detail, time_utc, **place, excerpt=quoted, suppressed=suppressed)
        identity = f"{record.partition}/{record.offset}"
        return self._event(EventType.ERROR, self._error_topic, identity.encode(), identity, value, record.partition)

    def reset(self, partition: Partition, reset: Reset, suppressed: int, time_utc: str) -> Event:
        """Return the error event of a partition whose reading does not continue where it stopped."""
        place: dict[str, str | int | None] = {"topic": partition.topic, "partition": partition.number}
        message = f"{RESETS[reset.cause]}; records lost: {reset.lost}"
        value = error_value(reset.cause, message, time_utc, **place, offset=reset.offset, suppressed=suppressed)
        identity = f"{partition}/{reset.offset}/{reset.cause}"
        return self._event(EventType.ERROR, self._error_topic, identity.encode(), identity, value, partition)

    def unsendable(self, event: Event, error: str, time_utc: str) -> Event | None:
        """Return the error event about an event that can never be sent; None when that is an error event itself."""
        if event.type is EventType.ERROR:
            return None
        identity = dict(event.headers)["ce_id"].decode()
        place: dict[str, str | int | None] = {"topic": event.source.topic, "partition": event.source.number}
        if event.type is EventType.BATCH:
            place["offset"] = int(identity.rpartition("/")[2])
        value = error_value("event_too_large", f"{event.type} {identity}: {error}", time_utc, **place)
        return self._event(EventType.ERROR, self._error_topic, identity.encode(), identity, value, event.source)

    def not_delivered(self, identity: str, topic: str, message: str, suppressed: int, time_utc: str) -> Event:
        """Return the error event about an event of `topic` that a program could not send; `identity` is unique."""
        value = error_value(NOT_DELIVERED, message, time_utc, topic=topic, suppressed=suppressed)
        return self._event(EventType.ERROR, self._error_topic, identity.encode(), identity, value, Partition(topic, 0))

    def _event(
        self, event_type: EventType, topic: str, key: bytes, identity: str, value: Mapping[str, Any], source: Partition
    ) -> Event:
        headers = [
            *self._common[event_type],
            ("ce_id", identity.encode()),
            ("ce_time", value["event_timestamp_utc"].encode()),
        ]
        return Event(event_type, topic, key, self._encoder.encode(event_type, value), headers, source)
