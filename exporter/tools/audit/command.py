"""The command `audit`: compare the input topics, the event topic and /metrics.

Reads the records in the topics at its start, and changes nothing. Each accepted record must have exactly one batch
event with the same numbers; summaries may not count more batches than there are.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from confluent_kafka import KafkaException

from exporter.config.files import read_text
from exporter.config.loader import ConfigError, load
from exporter.config.schema import Config
from exporter.config.secrets import secrets_in, shown_text
from exporter.config.subscription import Subscription, ingestion_group
from exporter.config.web_schema import WebClientConfig
from exporter.decoding.record_decoder import batch_events
from exporter.kafka.connection_errors import error_text
from exporter.kafka.positions import Span
from exporter.kafka.properties import mistakes
from exporter.kafka.reader import TopicReader, reader_properties
from exporter.model import Partition, RegistryError, Rejected
from exporter.runtime.foreign_text import add_secrets, printable
from exporter.source.messages import MessageReader
from exporter.tools.audit.formats import RecordReader
from exporter.tools.audit.ingestion import IngestionReader
from exporter.tools.audit.ledger import EventTruth, InputTruth, MetricsTruth, compare
from exporter.tools.audit.readers import (
    BatchEvent,
    EventReader,
    SummaryEvent,
    UnreadableError,
    add_metrics,
)
from exporter.tools.audit.rejected_tails import RejectedTails
from exporter.tools.audit.report import AuditResult, as_json, as_text
from exporter.tools.moments import timestamp_ms

ERROR_MAX = 500
_DESCRIPTION = """Compare the input topics, the event topic and /metrics; exit 0 when they agree, 1 when they differ,
2 when the audit fails. Nothing is written or committed. Records that a sidecar has not read yet count as missing:
audit when it has caught up or stopped, or limit the audit to the offsets that its group has committed (--group). The
limits on the number of feeds and symbols depend on the history of a process and are not checked: records rejected for
them count as missing. Needs about 100 bytes of memory a batch."""

_ACCEPT = "text/plain;version=0.0.4"
# Some 15 KB a feed: twice what 10,000 feeds have.
METRICS_BYTES = 300_000_000


class AuditError(Exception):
    """The audit cannot be made, for the reason in the text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the description and the options of the audit to a parser."""
    parser.description = _DESCRIPTION
    add = parser.add_argument
    add("--config.file", dest="config_file", metavar="FILE", help="the sidecar's configuration")
    add("--bootstrap-servers", metavar="LIST", help="brokers, in place of the configuration's")
    add("--topic", action="append", metavar="NAME", help="input topic, or ^regex; in place of the configuration's")
    add("--event-topic", metavar="NAME", help="in place of the configuration's")
    add("--group", metavar="NAME", help="audit only records before the committed offsets of this group")
    add("--since", type=timestamp_ms, metavar="TIME", help="first record: ISO 8601 (UTC) or Unix milliseconds")
    add(
        "--from-offset",
        action="append",
        type=_place,
        default=[],
        metavar="TOPIC/PARTITION/OFFSET",
        help="first record of one partition",
    )
    add(
        "--metrics",
        action="append",
        default=[],
        metavar="URL",
        help="a /metrics to compare, once for each replica; their sum equals the input only when these processes, and "
        "no others, have read exactly the audited records",
    )
    add("--strict-summaries", action="store_true", help="summaries must count all batches: after a clean stop")
    add("--max-differences", type=int, default=20, metavar="N", help="how many to print (default: %(default)s)")
    add("--timeout", type=float, default=30.0, metavar="SECONDS", help="for each answer (default: %(default)s)")
    add("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Make the audit, print its result, and return the exit code."""
    try:
        result = _audit(args, _config(args))
    except (AuditError, ConfigError, RegistryError) as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2
    except KafkaException as error:
        print(f"audit: Kafka: {error_text(error)}", file=sys.stderr)
        return 2
    print(json.dumps(as_json(result), indent=1) if args.json else as_text(result))
    return 1 if result.counts else 0


def _config(args: argparse.Namespace) -> Config:
    flags = {
        "kafka.bootstrap_servers": args.bootstrap_servers,
        "input.topics": args.topic,
        "output.topic": args.event_topic,
    }
    try:
        text = read_text(args.config_file) if args.config_file else None
    except (OSError, UnicodeDecodeError) as error:
        raise AuditError(f"cannot read {args.config_file}: {error}") from None
    given = {path: value for path, value in flags.items() if value is not None}
    host = socket.gethostname()
    return load(text, os.environ, given, hostname=host, read_file=read_text, also=mistakes, on_secrets=add_secrets)


def _audit(args: argparse.Namespace, config: Config) -> AuditResult:
    settings, output = config.input, config.output
    has_events = output.enabled and (output.batch_events or any(one.batch_events for one in settings.formats))
    ingestion = IngestionReader(config)
    with TopicReader(reader_properties(config), args.group or config.input.group, args.timeout) as reader:
        spans, event_spans = _spans(reader, args, config, ingestion, has_events)
        inputs, tails = _read_inputs(reader, config, ingestion, spans)
        inputs.gaps = reader.gaps.copy()
        events = _read_events(reader, event_spans, spans) if has_events else None
    metrics = _read_metrics(args.metrics, args.timeout, config.web.client) if args.metrics else None
    differences = compare(inputs, events, metrics, args.strict_summaries)
    first = list(islice(differences, max(args.max_differences, 0)))
    counts = Counter(difference.kind for difference in first) + Counter(difference.kind for difference in differences)
    return AuditResult(inputs, tails, events, metrics, counts, first)


Spans = Mapping[Partition, Span]


def _spans(
    reader: TopicReader, args: argparse.Namespace, config: Config, ingestion: IngestionReader, has_events: bool
) -> tuple[Spans, Spans]:
    """Return the spans to audit: of the input first and then of the events, so that no event of the input is missed."""
    own = reader.partitions(ingestion.subscription)
    partitions = [*_existing(reader, Subscription(config.input.topics, config.input.exclude)), *own]
    first, ends = reader.first(partitions), reader.stable(partitions)
    starts = first if args.since is None else ends | reader.since(partitions, args.since)
    starts = starts | {partition: offset for partition, offset in args.from_offset if partition in starts}
    if args.group is not None:
        ends = starts | reader.committed(partitions) | _committed_events(args, config, own)
    events = _whole(reader, _existing(reader, Subscription([config.output.topic]))) if has_events else {}
    written = reader.written(partitions)
    spans = {}
    for partition in partitions:
        start = max(starts[partition], first[partition])
        spans[partition] = Span(start, max(start, ends[partition]), written[partition])
    return spans, events


def _committed_events(args: argparse.Namespace, config: Config, partitions: list[Partition]) -> dict[Partition, int]:
    """Return the offsets of ingestion events that the group of its own has committed."""
    if not partitions:
        return {}
    with TopicReader(reader_properties(config), ingestion_group(args.group), args.timeout) as reader:
        return reader.committed(partitions)


def _whole(reader: TopicReader, partitions: Sequence[Partition]) -> Spans:
    first, written = reader.first(partitions), reader.written(partitions)
    return {partition: Span(first[partition], written[partition], written[partition]) for partition in partitions}


def _existing(reader: TopicReader, topics: Subscription) -> list[Partition]:
    partitions = reader.partitions(topics)
    if not partitions:
        raise AuditError(f"there is no topic {' or '.join(topics.entries)}")
    return partitions


def _read_inputs(
    reader: TopicReader, config: Config, ingestion: IngestionReader, spans: Spans
) -> tuple[InputTruth, RejectedTails]:
    truth, tails = InputTruth(spans), RejectedTails()
    messages, inputs = MessageReader(origin=any(one.reads_origin for one in config.input.formats)), RecordReader(config)
    has_event = batch_events(config.input, config.output)
    for record in (record for message in reader.read(spans) for record in messages.read([message])[0]):
        place, event = record.partition, ingestion.topics.get(record.partition.topic)
        try:
            facts = None
            if event is not None and not record.is_event:
                ingestion.check(record)
            elif not record.is_event:
                facts = inputs.facts(record)
        except Rejected as rejected:
            truth.reject(place)
            tails.reject(rejected, place, record.offset)
            continue
        if not record.is_event:
            tails.accept(place)
        if event is not None and not record.is_event:
            truth.add_event(place, event)
        elif facts is None:
            truth.filter(place)
        else:
            truth.accept(place, record.offset, facts, has_event=has_event(place.topic))
    return truth, tails


def _read_events(reader: TopicReader, event_spans: Spans, spans: Spans) -> EventTruth:
    truth = EventTruth(spans)
    events = EventReader()
    for message in reader.read(event_spans):
        try:
            event = events.read(message.value(), message.headers())
        except UnreadableError as error:
            truth.unreadable(f"{message.topic()}/{message.partition()}/{message.offset()}", str(error))
            continue
        if isinstance(event, BatchEvent):
            truth.batch(*event)
        elif isinstance(event, SummaryEvent):
            truth.summary(*event)
    return truth


def _read_metrics(
    urls: Iterable[str],
    timeout_seconds: float,
    client: WebClientConfig = WebClientConfig(),  # noqa: B008 - frozen
) -> MetricsTruth:
    from exporter.tools import remote

    truth = MetricsTruth()
    for url in urls:
        add_secrets(secrets_in(url, "url"))
        try:
            add_metrics(remote.body(url, _ACCEPT, timeout_seconds, METRICS_BYTES, client).decode(), truth)
        # RequestException is an OSError.
        except (OSError, ValueError, remote.Refused, UnreadableError) as error:
            raise AuditError(printable(f"{shown_text(url)}: {error}", ERROR_MAX)) from None
    return truth


def _place(text: str) -> tuple[Partition, int]:
    """Return partition and offset of topic/partition/offset."""
    topic, partition, offset = text.rsplit("/", 2)
    return Partition(topic, int(partition)), int(offset)
