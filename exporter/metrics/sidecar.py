"""Families of metrics from the state of the loop, created at each scrape.

Those of feeds come as text, from the rows of `feed_metrics`, because they are most of a page; the others are families
of prometheus_client. The loop is visited while some feeds are rendered; everything else is copied first, by `list` and
`dict`, which no other thread can interrupt.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import confluent_kafka
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.samples import Exemplar

from exporter.config.schema import Config
from exporter.config.subscription import shown_as
from exporter.core import in_use, native
from exporter.feeds.feed import Feed
from exporter.feeds.partitions import TopicCounts
from exporter.instrument.exposition import Family, label_text
from exporter.instrument.families import (
    CompactTexts,
    Row,
    RowMessages,
    families,
    histograms,
    message_families,
    row_texts,
)
from exporter.instrument.histogram import Histogram
from exporter.instrument.selection import ALL, Selection, selection
from exporter.loop import PROCESSING as PROCESSING_NAME
from exporter.metrics.configuration import configuration_families
from exporter.metrics.feed_metrics import (
    ANOMALIES,
    FEED_PARTS,
    compact_feed_families,
    compact_feed_texts,
    feed_message_families,
    feed_messages,
    shown_parts,
)
from exporter.metrics.partitions import merged, partition_families, reset_families
from exporter.model import AnyEventType, Partition, Reason
from exporter.publishing.publisher import DELIVERY as DELIVERY_NAME
from exporter.runtime.logs import LogCounter, dropped_lines
from exporter.source.handler import SourceCounts
from exporter.status import SidecarStatus

RECORDS, REJECTED = "marketdata_records", "marketdata_records_rejected"
Histograms = Iterable[tuple[str, Histogram]]


def _by_stage(stages: Histograms) -> Histograms:
    return [(f'stage="{stage}"', histogram) for stage, histogram in stages]


def _by_event(delivery: Histograms) -> Histograms:
    return [(f'event_type="{event_type}"', histogram) for event_type, histogram in delivery]


PROCESSING: Row[Histograms] = histograms(
    PROCESSING_NAME,
    "Time of a turn of the loop by stage; poll includes waiting for records.",
    _by_stage,
    "seconds",
)
DELIVERY: Row[Histograms] = histograms(
    DELIVERY_NAME,
    "Time from the analysis of a batch to the commit of its event.",
    _by_event,
    "seconds",
)

K = TypeVar("K", bound=str)


class _Shown(NamedTuple):
    """The text of a feed, and the version of the feed that it shows."""

    version: int
    text: CompactTexts


class _ShownMessages(NamedTuple):
    """The same as protobuf."""

    version: int
    messages: RowMessages


class SidecarMetrics:
    """The families of one running sidecar; any thread may scrape."""

    def __init__(
        self, config: Config, status: SidecarStatus, source: SourceCounts, logs: LogCounter, version: str
    ) -> None:
        self._shown = selection(config.metrics)
        self._parts = shown_parts(FEED_PARTS, self._shown)
        self._has_topics = config.metrics.topics != "none"
        self._shown_as = shown_as(config.input.topics, config.metrics.topics)
        self._status = status
        self._ingestion = status.ingestion
        self._source = source
        self._logs = logs
        self._version = version
        self._core, self._native = in_use(config.input.core), native(config.input.core)
        self._labels: dict[Feed, str] = {}
        self._texts: dict[Feed, _Shown] = {}
        self._messages: dict[Feed, _ShownMessages] = {}

    def collect(self, is_protobuf: bool = False) -> list[Metric | Family]:
        """Return every family of the core that is shown, feeds first."""
        feeds = self._feed_message_families() if is_protobuf else self._feed_families()
        topics = self._status.topics()
        others = (self._histograms(is_protobuf), self._topic_families(topics), self._other_families(topics))
        ingestion = [] if self._ingestion is None else self._ingestion.families(is_protobuf)
        return [*feeds, *(family for some in others for family in some), *ingestion]

    def _feed_families(self) -> Iterator[Family]:
        for family in compact_feed_families(self._parts, self._feed_texts()):
            yield family._replace(exemplars=self._anomaly_places(family.name)) if family.name == ANOMALIES else family

    def _histograms(self, is_protobuf: bool) -> list[Family]:
        stages, delivery = self._status.stages.items(), self._status.publisher.counts.delivery.items()
        rows: tuple[Row[Histograms], ...] = (PROCESSING, DELIVERY)
        values: tuple[Histograms, ...] = (list(stages), list(delivery))
        if is_protobuf:
            found = [row.message(each, "", b"") for row, each in zip(rows, values, strict=True)]
            bodies, series = zip(*found, strict=True)
            return message_families(rows, [RowMessages(bodies, series)])
        return families(rows, [row_texts([([row], each, True) for row, each in zip(rows, values, strict=True)], "")])

    def _topic_families(self, topics: Mapping[str, TopicCounts]) -> Iterator[Metric]:
        if self._has_topics:
            yield from record_families(topics, self._shown)
            yield from partition_families(merged(self._status.partitions(), self._shown_as), self._shown)
            yield from reset_families(topics)

    def _other_families(self, topics: Mapping[str, TopicCounts]) -> Iterator[Metric]:
        yield from self._consumer_families()
        yield from self._publisher_families()
        yield from self._own_families(topics)

    def _feed_message_families(self) -> list[Family]:
        """Render the feeds that have changed as protobuf, some in each visit."""
        feeds, known = self._status.feeds(), self._messages
        changed = (feed for feed in feeds if feed not in known or known[feed].version != feed.version)
        known.update(self._status.each(changed, self._rendered_messages))
        if len(known) > len(feeds):
            self._messages = {feed: known[feed] for feed in feeds}
        return feed_message_families(self._parts, [known[feed].messages for feed in feeds])

    def _rendered_messages(self, feed: Feed) -> tuple[Feed, _ShownMessages]:
        labels, places = self._label_text(feed), dict(self._places_of(feed))
        return feed, _ShownMessages(feed.version, feed_messages(self._parts, labels, feed, places))

    def _feed_texts(self) -> list[CompactTexts]:
        """Render the feeds that have changed, some in each visit."""
        feeds = self._status.feeds()
        known = self._texts  # other scrapes continue with the one that they began with
        changed = (feed for feed in feeds if feed not in known or known[feed].version != feed.version)
        known.update(self._status.each(changed, self._rendered))
        if len(known) > len(feeds):
            self._texts = {feed: known[feed] for feed in feeds}
            self._labels = {feed: self._label_text(feed) for feed in feeds}
        return [known[feed].text for feed in feeds]

    def _rendered(self, feed: Feed) -> tuple[Feed, _Shown]:
        return feed, _Shown(feed.version, compact_feed_texts(self._parts, self._label_text(feed), feed))

    def _anomaly_places(self, name: str) -> dict[str, Exemplar]:
        """Return the place of the last anomaly of each kind, by the line that counts it."""
        return dict(place for feed in self._status.feeds() for place in self._places_of(feed, name))

    def _places_of(self, feed: Feed, name: str = ANOMALIES) -> Iterator[tuple[str, Exemplar]]:
        for kind, (partition, offset, _) in dict(feed.anomaly_places).items():
            yield f'{name}_total{{{self._label_text(feed)},kind="{kind}"}}', _place(partition, offset)

    def _label_text(self, feed: Feed) -> str:
        text = self._labels.get(feed)
        if text is None:
            text = self._labels[feed] = label_text(feed.key._asdict())
        return text

    def _consumer_families(self) -> Iterator[Metric]:
        yield counters(
            "marketdata_consumer_rebalances", "Changes of partitions, by kind.", "event", self._source.rebalances
        )
        yield counters(
            "marketdata_consumer_kafka_errors",
            "Errors that the consumer reported, by librdkafka's code.",
            "code",
            self._source.errors,
        )

    def _publisher_families(self) -> Iterator[Metric]:
        counts, backlog = self._status.published(), self._status.backlog()
        yield CounterMetricFamily(
            "marketdata_consumer_commits",
            "Commits of input offsets together with their events.",
            sum(each.commits for each in counts),
        )
        failures = _sums([each.commit_failures for each in counts])
        yield counters("marketdata_consumer_commit_failures", "Failed commits, by reason.", "reason", failures)
        yield counters("marketdata_events", "Events committed.", "event_type", _sums([each.events for each in counts]))
        yield counters(
            "marketdata_events_failed",
            "Events given up because they exceed Kafka's limit on size.",
            "event_type",
            _sums([each.failed for each in counts]),
        )
        yield GaugeMetricFamily("marketdata_event_backlog", "Events not yet committed.", backlog.events)
        yield GaugeMetricFamily(
            "marketdata_event_backlog_limit",
            "Events that may wait before reading pauses.",
            self._status.backlog_limits.events,
        )
        yield GaugeMetricFamily(
            "marketdata_event_backlog_ratio",
            "How full the backlog is, by events, bytes or age, whichever is nearest to its limit; at 1 reading pauses.",
            backlog.fullness,
            unit="ratio",
        )

    def _own_families(self, topics: Mapping[str, TopicCounts]) -> Iterator[Metric]:
        versions = {
            "version": self._version,
            "python": platform.python_version(),
            "librdkafka": confluent_kafka.libversion()[0],
            "core": self._core,
        }
        build = GaugeMetricFamily(
            "marketdata_exporter_build_info",
            "1; the labels are the versions, and which core is used.",
            labels=list(versions),
        )
        build.add_metric(list(versions.values()), 1)
        yield build
        ready = self._status.ready().ok
        yield GaugeMetricFamily("marketdata_exporter_ready", "Whether the sidecar is ready (/-/ready).", float(ready))
        yield from configuration_families(self._status.reload)
        yield counters("marketdata_exporter_log_messages", "Lines logged, by level.", "level", self._logs.lines)
        yield CounterMetricFamily(
            "marketdata_exporter_core_faults",
            "Failures of the native core: Python decodes the record, or a batch is counted in part.",
            0 if self._native is None else self._native.faults(),
        )
        yield CounterMetricFamily(
            "marketdata_exporter_log_lines_dropped",
            "Log lines dropped because stderr did not take them in time.",
            dropped_lines(),
        )
        overflow = {
            "feed": sum(topic.rejected[Reason.TOO_MANY_FEEDS] for topic in topics.values()),
            "symbol": sum(topic.rejected[Reason.TOO_MANY_SYMBOLS] for topic in topics.values()),
        }
        yield counters(
            "marketdata_exporter_label_overflow",
            "Records rejected because a limit on names was hit.",
            "label",
            overflow,
        )
        yield CounterMetricFamily(
            "marketdata_exporter_feeds_forgotten",
            "Feeds removed to make room for others: never established, and silent for ten minutes.",
            self._status.forgotten_feeds,
        )


def record_families(topics: Mapping[str, TopicCounts], shown: Selection = ALL) -> Iterator[Metric]:
    """Yield the families of the records of each topic that are shown, by their outcome."""
    texts = {
        "records": "Records read for the first time: accepted, filtered or rejected.",
        "redelivered": "Records read again after this process had counted them.",
        "recovered": "Records read again after a start, to complete a summary; counted nowhere else.",
        "filtered": "Records of feeds that feeds.include and feeds.exclude leave out, and events of sidecars.",
        "lost": "Records known to be deleted before they were read.",
        "unreadable": "Records stepped over because the client cannot read them, counted by their offsets.",
    }
    names = {"records": RECORDS, **{field: f"{RECORDS}_{field}" for field in texts if field != "records"}}
    chosen = shown.names([*names.values(), REJECTED], "counter")
    for field, text in texts.items():
        if (name := names[field]) in chosen:
            yield counters(name, text, "topic", {topic: getattr(counts, field) for topic, counts in topics.items()})
    if REJECTED in chosen:
        yield _rejected(topics)


def _rejected(topics: Mapping[str, TopicCounts]) -> Metric:
    rejected = CounterMetricFamily(REJECTED, "Records that are no valid batch, by reason.", labels=("topic", "reason"))
    for topic, counts in topics.items():
        for reason, number in counts.rejected.items():
            place = counts.places.get(reason)
            exemplar = None if place is None else _place(*place)
            rejected.add_metric((topic, reason.value), number, exemplar=exemplar)
    return rejected


def _sums(counts: Sequence[Mapping[K, int]]) -> dict[K, int]:
    return {key: sum([each[key] for each in counts]) for key in counts[0]}


def _place(partition: Partition, offset: int) -> Exemplar:
    return Exemplar({"topic": partition.topic, "partition": str(partition.number), "offset": str(offset)}, 1)


def counters(name: str, text: str, label: str, values: dict[str, int] | dict[AnyEventType, int]) -> CounterMetricFamily:
    """Return a family of counters with one label."""
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, number in list(values.items()):
        family.add_metric((str(value),), number)
    return family
