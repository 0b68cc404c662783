"""Runs of plain batches, which the native core takes from their numbers to their events. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporter.assignments import Turn
from exporter.events.factory import EventFactory
from exporter.feeds.feed import Feed, PartitionFeed
from exporter.feeds.native_feed import NativeFeed
from exporter.feeds.partitions import AssignedPartition
from exporter.model import Partition, Record


class PlainRuns:
    """Takes records that follow each other on a partition, as long as they are plain.

    Plain are new batches of feeds and symbols that are known, whose order books are in the usual notation; any other
    record is the pipeline's.
    """

    def __init__(self, core: Any, factory: EventFactory) -> None:
        self._batch, self._lane = core.Batch, core.Lane
        self._factory = factory
        self._events = factory.native_events(core)

    def begin(self, turn: Turn) -> None:
        """Begin a turn, whose events have its time."""
        self._events.begin(turn.now_ms, turn.stamp.avro, ("ce_time", turn.stamp.header))

    def lane(self, feed: Feed, partition: Partition) -> PartitionFeed:
        """Return a feed on a partition."""
        if not isinstance(feed, NativeFeed):
            return PartitionFeed(feed)
        names = self._factory.native_names(feed.key, partition)
        lane: PartitionFeed = self._lane((feed, feed.tally), self._events, *names)
        return lane

    def take(
        self,
        turn: Turn,
        owned: AssignedPartition,
        records: Sequence[Record],
        decoded: Sequence[Any],
        begin: int,
        live_since_ms: int,
    ) -> int:
        """Apply the records from `begin` on, up to one that is not plain, and return its index.

        Those with a Kafka timestamp before `live_since_ms` are old.
        """
        partition, feeds, has_events = records[begin].partition, owned.feeds, owned.has_batch_events
        first = max(owned.counted, owned.published, owned.summarized)
        batch, lane, append = self._batch, self._lane, turn.events.append
        index = begin
        for index in range(begin, len(records)):
            record, content = records[index], decoded[index]
            offset, record_ms = record.offset, record.timestamp_ms
            if type(content) is not batch or offset < first or record.partition is not partition:
                break
            here: Any = feeds.get(content.key)
            if type(here) is not lane:
                break
            is_live = record_ms >= live_since_ms or record_ms <= 0
            made = here.take(content, offset, record_ms, record.traceparent, is_live, has_events)
            if made is None:
                break
            if type(made) is not int:
                append(made)
                continue
            if made:
                here.feed.note(made, (partition, offset), turn.now_ms)
            if has_events:
                append(here.event(content, offset, record.traceparent))
        else:
            index = len(records)
        if index > begin:
            _advance(owned, records[index - 1], index - begin, turn.now_ms)
        return index


def _advance(owned: AssignedPartition, last: Record, number: int, now_ms: int) -> None:
    """Note that a number of new batches were read, up to the last one."""
    owned.next_offset = owned.counted = last.offset + 1
    owned.last_record_ms = last.timestamp_ms
    owned.topic.records += number
    owned.traffic.records += number
    owned.traffic.valid_ms = now_ms
