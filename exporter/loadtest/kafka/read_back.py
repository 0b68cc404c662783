"""Reading back what was sent: which messages are in the topic, and how often."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from confluent_kafka import KafkaException, Message

from exporter.config.schema import Config
from exporter.kafka.connection_errors import error_text
from exporter.kafka.positions import Span
from exporter.loadtest.kafka.records import HEADER
from exporter.loadtest.kafka.topic import LoadTopic, reader


class ReadBack(NamedTuple):
    """Messages that were acknowledged and are not in the topic, those that are there repeatedly, and what was left out.

    `lost` and `repeated` are None if the topic could not be read, for the reason in `note`.
    """

    lost: int | None
    repeated: int | None
    note: str = ""


def read_back(config: Config, topic: LoadTopic, run: bytes, acknowledged: bytes | bytearray) -> ReadBack:
    """Compare the topic with the numbers of messages that were acknowledged, which are not 0 in `acknowledged`."""
    try:
        with reader(config) as source:
            partitions = list(topic.begins)
            first, ends = source.first(partitions), source.written(partitions)
            spans = {each: Span(max(topic.begins[each], first[each]), ends[each], ends[each]) for each in partitions}
            found = count(source.read(spans), run, len(acknowledged))
            dropped = sum(max(0, first[each] - topic.begins[each]) for each in partitions)
    except KafkaException as error:
        return ReadBack(None, None, f"the topic could not be read back: {error_text(error)}")
    repeated = sum(times - 1 for times in found if times > 1)
    if dropped:
        return ReadBack(None, repeated, f"the broker has dropped the oldest {dropped} messages: loss is not known")
    lost = sum(1 for sent, times in zip(acknowledged, found, strict=True) if sent and not times)
    return ReadBack(lost, repeated)


def count(messages: Iterable[Message], run: bytes, numbers: int) -> bytearray:
    """Return how often each number of a run was read, at most 255 times."""
    found = bytearray(numbers)
    for message in messages:
        headers: Any = dict(message.headers() or ())
        of, _, number = headers.get(HEADER, b"").partition(b"/")
        if of == run and number.isdigit() and int(number) < numbers:
            found[int(number)] = min(255, found[int(number)] + 1)
    return found
