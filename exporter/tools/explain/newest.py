"""The newest records of topics, read without a trace: see `exporter.kafka.reader`."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

from exporter.kafka.positions import Span
from exporter.kafka.reader import TopicReader
from exporter.model import Partition, Record
from exporter.source.messages import MessageReader

# Of one topic; a topic with more partitions is looked at in the first of them that have records.
PARTITIONS = 20
# Markers of transactions stand between records, one after each commit.
_PER_RECORD = 2


def newest(
    reader: TopicReader, partitions: Sequence[Partition], records: int, deadline: float
) -> dict[str, list[Record]]:
    """Return about so many of the newest records of each topic, the oldest first.

    They come from several partitions where a topic has several. At the monotonic time `deadline` what has been read
    is returned. Raise `KafkaException` when Kafka does not answer.
    """
    first, end = reader.first(partitions), reader.stable(partitions)
    wanted = _wanted({each: end[each] - first[each] for each in partitions}, records)
    spans = {
        each: Span(max(first[each], end[each] - _PER_RECORD * wanted[each]), end[each], end[each]) for each in wanted
    }
    make, kept = MessageReader(origin=True), {each: deque[Record](maxlen=wanted[each]) for each in wanted}
    for message in reader.read(spans):
        for record in make.read([message])[0]:
            kept[record.partition].append(record)
        if time.monotonic() > deadline:
            break
    found: dict[str, list[Record]] = defaultdict(list)
    for partition, some in kept.items():
        found[partition.topic] += some
    return {topic: sorted(some, key=lambda record: record.timestamp_ms) for topic, some in found.items()}


def _wanted(lengths: Mapping[Partition, int], records: int) -> dict[Partition, int]:
    """Return how many records to take from each partition that has some."""
    topics: dict[str, list[Partition]] = defaultdict(list)
    for partition, length in lengths.items():
        if length > 0 and len(topics[partition.topic]) < PARTITIONS:
            topics[partition.topic].append(partition)
    return {each: max(1, -(-records // len(some))) for some in topics.values() for each in some}


def record_at(reader: TopicReader, partition: Partition, offset: int) -> Record | None:
    """Return the record at an offset, or the next one; None behind the end. Raise `KafkaException`."""
    first, end = reader.first([partition])[partition], reader.stable([partition])[partition]
    if not first <= offset < end:
        return None
    for message in reader.read({partition: Span(offset, end, end)}):
        return MessageReader(origin=True).read([message])[0][0]
    return None
