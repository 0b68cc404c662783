"""What `check` makes of the newest records of each topic: their format, feeds, symbols and fields, or why not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException

from exporter.config.schema import Config
from exporter.config.subscription import Subscription
from exporter.kafka.connection_errors import error_text
from exporter.kafka.reader import TopicReader, reader_properties
from exporter.model import Partition, Record
from exporter.runtime.worker import in_thread
from exporter.tools.check.findings import GROUP_LOG
from exporter.tools.check.membership import some
from exporter.tools.check.model import Cluster, Finding, Level, Topic, counted
from exporter.tools.explain.candidate import TopicDecoder
from exporter.tools.explain.decoders import candidates, decoder_for
from exporter.tools.explain.newest import newest
from exporter.tools.explain.understanding import (
    ROW_FIELDS,
    Understanding,
    blindness,
    found_fields,
    recognised,
    rows_of,
    understand,
)

SUBJECT = "records"
RECORDS = 5
TOPICS = 50
ANSWER_SECONDS = 5.0
READ_SECONDS = 10.0


def records(config: Config, cluster: Cluster) -> Iterator[Finding]:
    """Yield a finding for each topic, from some of its newest records; at most `TOPICS` topics are looked at."""
    there = [
        name
        for name in Subscription(config.input.topics, config.input.exclude).among(cluster.names)
        if _is_read(cluster, name)
    ]
    if not there:
        return
    if GROUP_LOG not in cluster.names:
        text = "not looked at: on a cluster without a group, reading would create the topic in which it keeps groups"
        yield Finding(Level.OK, SUBJECT, text, "`explain TOPIC` does look")
        return
    looked_at = sample(there, TOPICS)
    partitions = [Partition(name, number) for name in looked_at for number in range(cluster.partitions([name]))]
    try:
        found = _read(config, partitions)
    except KafkaException as error:
        yield Finding(Level.WARN, SUBJECT, f"the newest could not be read: {error_text(error)}")
        return
    for name in looked_at:
        yield judged(name, found.get(name, []), config)
    if len(looked_at) < len(there):
        text = f"{counted(len(looked_at), 'topic')} of {len(there)} were looked at"
        yield Finding(Level.OK, SUBJECT, text, "`explain TOPIC` looks at any other")


def sample(names: Sequence[str], most: int) -> list[str]:
    """Return at most so many names, evenly from the whole list: neighbours in it are often alike."""
    if len(names) <= most:
        return list(names)
    return [names[place * len(names) // most] for place in range(most)]


def _is_read(cluster: Cluster, name: str) -> bool:
    topic = cluster.topics.get(name)
    return isinstance(topic, Topic) and (topic.operations is None or "READ" in topic.operations)


def _read(config: Config, partitions: Sequence[Partition]) -> Mapping[str, list[Record]]:
    def read() -> Mapping[str, list[Record]]:
        with TopicReader(reader_properties(config), config.input.group, ANSWER_SECONDS) as reader:
            return newest(reader, partitions, RECORDS, time.monotonic() + READ_SECONDS)

    task = in_thread(read)
    if task.wait(READ_SECONDS + 2 * ANSWER_SECONDS):
        return task.result()
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"nothing came for {READ_SECONDS:g} s"))


def judged(topic: str, newest: Sequence[Record], config: Config) -> Finding:
    """Return the finding about one topic."""
    kept = [record for record in newest if not record.is_event]
    if not kept:
        return Finding(
            Level.OK, SUBJECT, f"{topic} has no records" if not newest else f"{topic} has events of sidecars"
        )
    decoder, limits = decoder_for(topic, config), config.input.limits
    understood = [understand(record, decoder, limits) for record in kept]
    rejected = [each.rejected for each in understood if each.rejected is not None]
    blind = blindness(understood)
    text = f"{topic}, {counted(len(kept), 'record')} read as {decoder.name}: {'; '.join(_parts(understood, decoder))}"
    if not rejected and not blind:
        return Finding(Level.OK, SUBJECT, text)
    better = recognised(understood, candidates(topic, config), limits)
    known = f"it looks like {better.candidate.decoder.name}, " if better else ""
    return Finding(Level.WARN, SUBJECT, text, f"{known}see `explain {topic}`")


def _parts(understood: Sequence[Understanding], decoder: TopicDecoder) -> Iterator[str]:
    if rejected := [each for each in understood if each.rejected is not None]:
        yield _rejections(rejected, len(understood))
    if skipped := sum(each.batch is None and each.rejected is None for each in understood):
        yield f"{skipped} skipped"
    if rows := rows_of(understood):
        feeds = sorted({str(each.feed) for each in understood if each.batch is not None})
        symbols = list(dict.fromkeys(row.symbol for row in rows))
        yield f"{some(feeds)} with {counted(len(symbols), 'symbol')} ({some(symbols)})"
        yield from _fields(understood, decoder)
    elif any(each.batch is not None for each in understood):
        yield "batches without a message"


def _fields(understood: Sequence[Understanding], decoder: TopicDecoder) -> Iterator[str]:
    found = found_fields(rows_of(understood))
    missed = [name for name in ROW_FIELDS if name not in found and name in decoder.sources]
    if blind := blindness(understood):
        yield f"no message has a {' or a '.join(blind)}"
    yield f"found {', '.join(found) or 'no field'}" + (f", without {', '.join(missed)}" if missed else "")


def _rejections(rejected: Sequence[Understanding], records: int) -> str:
    """Return how many are rejected, mostly why, and an example."""
    reasons = Counter(each.rejected.reason for each in rejected if each.rejected is not None)
    reason = reasons.most_common(1)[0][0]
    example = next(each for each in reversed(rejected) if each.rejected is not None and each.rejected.reason == reason)
    detail = "" if example.rejected is None else example.rejected.detail
    number = "all are" if len(rejected) == records else f"{len(rejected)} of {records} are"
    return f"{number} rejected, {reason} at {example.record.partition}/{example.record.offset}: {detail}"
