"""Ranges of topics, read in the order of time and without a trace: see `exporter.kafka.reader`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Message

from exporter.config.parsers import topic_or_pattern
from exporter.config.subscription import Subscription
from exporter.kafka.clients import CONSUMER
from exporter.kafka.positions import Span
from exporter.kafka.reader import TopicReader
from exporter.model import Partition, Record
from exporter.source.messages import MessageReader
from exporter.tools.replay.arrival import Arrived, Merge

_RANGE = re.compile(r"([^/]+)(?:/(\d+)(?:/(\d+)-(\d*))?)?", re.ASCII)


# What is fetched ahead is bounded as in a sidecar.
FETCHING = {name: value for name, value in CONSUMER.items() if name.startswith(("fetch.", "queued.", "max.partition."))}


class RangeError(Exception):
    """The arguments name no range of a topic; the text is the reason."""


class Range(NamedTuple):
    """A topic or a pattern; of one partition, its records from `first` to `last`, None: to the end."""

    topic: str
    partition: int | None = None
    first: int = 0
    last: int | None = None


class Period(NamedTuple):
    """The time of the first record and that after the last one, in Unix milliseconds; None: no limit."""

    since_ms: int | None = None
    until_ms: int | None = None


def parsed(text: str) -> Range:
    """Return the range that TOPIC[/PARTITION[/FROM-TO]] names."""
    if (found := _RANGE.fullmatch(text)) is None:
        raise RangeError(f"got {text}, expected TOPIC, TOPIC/PARTITION or TOPIC/PARTITION/FROM-TO")
    topic, partition, first, last = found.groups()
    try:
        topic_or_pattern(topic)
    except ValueError as error:
        raise RangeError(f"got {text}: {error}") from None
    one = Range(topic, int(partition) if partition else None, int(first or 0), int(last) if last else None)
    if one.last is not None and one.last < one.first:
        raise RangeError(f"got {text}, expected offsets that rise")
    return one


def spans(
    reader: TopicReader, ranges: Iterable[Range], exclude: Sequence[str], period: Period
) -> dict[Partition, Span]:
    """Return the offsets to read of each partition; raise `RangeError` for one that does not exist."""
    wanted: dict[Partition, Range] = {}
    for one in ranges:
        wanted.update((partition, one) for partition in _partitions(reader, one, exclude))
    partitions = list(wanted)
    first, end = reader.first(partitions), reader.stable(partitions)
    written = dict(end)
    if period.since_ms is not None:
        first = end | reader.since(partitions, period.since_ms)
    if period.until_ms is not None:
        end = end | reader.since(partitions, period.until_ms)
    found: dict[Partition, Span] = {}
    for partition, one in wanted.items():
        start = max(first[partition], one.first)
        stop = min(end[partition], written[partition], written[partition] if one.last is None else one.last + 1)
        found[partition] = Span(start, max(start, stop), written[partition])
    return found


def _partitions(reader: TopicReader, one: Range, exclude: Sequence[str]) -> list[Partition]:
    found = reader.partitions(Subscription([one.topic], exclude))
    if not found:
        raise RangeError(f"there is no topic {one.topic}")
    if one.partition is None:
        return found
    chosen = [partition for partition in found if partition.number == one.partition]
    if not chosen:
        raise RangeError(f"there is no partition {one.topic}/{one.partition}")
    return chosen


def read(reader: TopicReader, chosen: Mapping[Partition, Span], latest_ms: int, *, origin: bool) -> Iterator[Arrived]:
    """Yield the records of the spans in the order of time, with the time of each; raise KafkaException."""
    unread = [partition for partition, span in chosen.items() if span.start < span.end]
    merge = Merge(unread, latest_ms, reader.pause, reader.resume)
    messages = reader.read(chosen, merge.ended)
    return merge.merged(_records(messages, MessageReader(origin=origin).read))


def _records(
    messages: Iterable[Message], convert: Callable[[Iterable[Message]], tuple[list[Record], list[Message]]]
) -> Iterator[Record]:
    for message in messages:
        yield from convert((message,))[0]
