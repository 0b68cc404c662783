"""Show what the sidecar makes of one record, field by field, and which format it has.

The record is the newest of a topic, that at a place as the log names it, or the content of a file. Reading leaves no
trace.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from exporter.config.schema import Config
from exporter.config.subscription import Subscription, is_pattern
from exporter.kafka.reader import TopicReader, reader_properties
from exporter.model import Partition, Record
from exporter.runtime.foreign_text import printable
from exporter.tools.explain.decoders import candidates, decoder_for
from exporter.tools.explain.newest import newest, record_at
from exporter.tools.explain.report import report
from exporter.tools.explain.understanding import recognised, understand

ANSWER_SECONDS = 10.0
READ_SECONDS = 20.0
STDIN = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what names the record to a parser."""
    parser.add_argument("topic", nargs="?", metavar="TOPIC[/PARTITION/OFFSET]", help="the newest record, or that one")
    parser.add_argument(
        "--file", metavar="FILE", help="the value of a record, - for stdin; of the topic, if one is given"
    )


def main(config: Config, *, topic: str | None, file: str | None) -> int:
    """Print what becomes of the record; return 0 unless it is rejected or there is none, 2 for wrong usage."""
    try:
        record = _from_file(topic or "", file) if file is not None else _from_kafka(topic or "", config)
    except (UnusableError, OSError) as error:
        print(f"explain: {printable(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UnusableError) else 1
    if record is None:
        print(f"explain: {topic} has no record there", file=sys.stderr)
        return 1
    name, limits = record.partition.topic, config.input.limits
    decoder = decoder_for(name, config)
    understood = understand(record, decoder, limits)
    print(report(understood, decoder, recognised([understood], candidates(name, config), limits)))
    return int(understood.rejected is not None)


class UnusableError(Exception):
    """The arguments name no record; the text is the reason."""


def _from_file(topic: str, file: str) -> Record:
    value = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    return Record(Partition(topic, 0), 0, 0, value)


def _from_kafka(text: str, config: Config) -> Record | None:
    topic, place = _place(text)
    with TopicReader(reader_properties(config), config.input.group, ANSWER_SECONDS) as reader:
        partitions = reader.partitions(Subscription([topic]))
        if not partitions:
            raise UnusableError(f"there is no topic {topic}")
        if place is not None:
            if place[0] not in partitions:
                raise UnusableError(f"there is no partition {place[0]}")
            return record_at(reader, *place)
        found = newest(reader, partitions, 1, time.monotonic() + READ_SECONDS).get(topic)
    return found[-1] if found else None


def _place(text: str) -> tuple[str, tuple[Partition, int] | None]:
    """Return a topic, and the partition and the offset that follow it, if they do."""
    topic, *numbers = text.split("/")
    if not topic or is_pattern(topic):
        raise UnusableError("give the name of a topic, or --file")
    if not numbers:
        return topic, None
    if len(numbers) != 2 or not all(each.isascii() and each.isdigit() for each in numbers):
        raise UnusableError(f"got {text}, expected TOPIC or TOPIC/PARTITION/OFFSET")
    return topic, (Partition(topic, int(numbers[0])), int(numbers[1]))
