"""Families of metrics from the state of the loop, created at each scrape.

Those of feeds come as text, from the rows of `feed_metrics`, because they are most of a page; the others are families
of prometheus_client. The loop is visited while some feeds are rendered; everything else is copied first, by `list` and
`dict`, which no other thread can interrupt.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

import confluent_kafka
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.samples import Exemplar

from exporter.config.schema import Config
from exporter.config.subscription import shown_as
from exporter.feeds.feed import Feed
from exporter.feeds.partitions import TopicCounts
from exporter.instrument.exposition import Family, label_text
from exporter.instrument.families import RowTexts, spelled
from exporter.instrument.histogram import Histogram
from exporter.metrics.configuration import configuration_families
from exporter.metrics.feed_metrics import FEED_PARTS, feed_families, feed_texts
from exporter.metrics.partitions import merged, partition_families, reset_families
from exporter.model import EventType, Partition, Reason
from exporter.runtime.logs import LogCounter, dropped_lines
from exporter.source.handler import SourceCounts
from exporter.status import SidecarStatus

ANOMALIES = "marketdata_anomalies"


class _Shown(NamedTuple):
    """The text of a feed, and the version of the feed that it shows."""

    version: int
    text: RowTexts


class SidecarMetrics:
    """The families of one running sidecar; any thread may scrape."""

    def __init__(
        self, config: Config, status: SidecarStatus, source: SourceCounts, logs: LogCounter, version: str
    ) -> None:
        self._has_topics = config.metrics.topics != "none"
        self._shown_as = shown_as(config.input.topics, config.metrics.topics)
        self._status = status
        self._source = source
        self._logs = logs
        self._version = version
        self._labels: dict[Feed, str] = {}
        self._texts: dict[Feed, _Shown] = {}

    def collect(self) -> list[Metric | Family]:
        """Return every family of the core, feeds first."""
        return [*self._families()]

    def _families(self) -> Iterator[Metric | Family]:
        topics = self._status.topics()
        for family in feed_families(FEED_PARTS, self._feed_texts()):
            yield family._replace(exemplars=self._anomaly_places(family.name)) if family.name == ANOMALIES else family
        if self._has_topics:
            yield from record_families(topics)
            yield from partition_families(merged(self._status.partitions(), self._shown_as))
            yield from reset_families(topics)
        yield from self._consumer_families()
        yield from self._publisher_families()
        yield histograms(
            "marketdata_processing_seconds",
            "Time of a turn of the loop by stage; poll includes waiting for records.",
            "stage",
            self._status.stages,
        )
        yield from self._own_families(topics)

    def _feed_texts(self) -> list[RowTexts]:
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
        return feed, _Shown(feed.version, feed_texts(FEED_PARTS, self._label_text(feed), feed))

    def _anomaly_places(self, name: str) -> dict[str, Exemplar]:
        """Return the place of the last anomaly of each kind, by the line that counts it."""
        places = [(feed, dict(feed.anomaly_places)) for feed in self._status.feeds()]
        return {
            f'{name}_total{{{self._label_text(feed)},kind="{kind}"}}': _place(partition, offset)
            for feed, met in places
            for kind, (partition, offset, _) in met.items()
        }

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
        counts, backlog = self._status.publisher.counts, self._status.backlog()
        yield CounterMetricFamily(
            "marketdata_consumer_commits", "Commits of input offsets together with their events.", counts.commits
        )
        yield counters(
            "marketdata_consumer_commit_failures", "Failed commits, by reason.", "reason", counts.commit_failures
        )
        yield counters("marketdata_events", "Events committed.", "event_type", counts.events)
        yield counters(
            "marketdata_events_failed",
            "Events given up because they exceed Kafka's limit on size.",
            "event_type",
            counts.failed,
        )
        yield histograms(
            "marketdata_event_delivery_seconds",
            "Time from the analysis of a batch to the commit of its event.",
            "event_type",
            counts.delivery,
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
        }
        build = GaugeMetricFamily(
            "marketdata_exporter_build_info", "1; the labels are the versions.", labels=list(versions)
        )
        build.add_metric(list(versions.values()), 1)
        yield build
        ready = self._status.ready().ok
        yield GaugeMetricFamily("marketdata_exporter_ready", "Whether the sidecar is ready (/-/ready).", float(ready))
        yield from configuration_families(self._status.reload)
        yield counters("marketdata_exporter_log_messages", "Lines logged, by level.", "level", self._logs.lines)
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


def record_families(topics: Mapping[str, TopicCounts]) -> Iterator[Metric]:
    """Yield the families of the records of each topic, by their outcome."""
    texts = {
        "records": "Records read for the first time: accepted, filtered or rejected.",
        "redelivered": "Records read again after this process had counted them.",
        "recovered": "Records read again after a start, to complete a summary; counted nowhere else.",
        "filtered": "Records of feeds that feeds.include and feeds.exclude leave out, and events of sidecars.",
        "lost": "Records known to be deleted before they were read.",
        "unreadable": "Records stepped over because the client cannot read them, counted by their offsets.",
    }
    for field, text in texts.items():
        name = "marketdata_records" if field == "records" else f"marketdata_records_{field}"
        yield counters(name, text, "topic", {topic: getattr(counts, field) for topic, counts in topics.items()})
    rejected = CounterMetricFamily(
        "marketdata_records_rejected", "Records that are no valid batch, by reason.", labels=("topic", "reason")
    )
    for topic, counts in topics.items():
        for reason, number in counts.rejected.items():
            place = counts.places.get(reason)
            exemplar = None if place is None else _place(*place)
            rejected.add_metric((topic, reason.value), number, exemplar=exemplar)
    yield rejected


def _place(partition: Partition, offset: int) -> Exemplar:
    return Exemplar({"topic": partition.topic, "partition": str(partition.number), "offset": str(offset)}, 1)


def counters(name: str, text: str, label: str, values: dict[str, int] | dict[EventType, int]) -> CounterMetricFamily:
    """Return a family of counters with one label."""
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, number in list(values.items()):
        family.add_metric((str(value),), number)
    return family


def histograms(
    name: str, text: str, label: str, values: dict[str, Histogram] | dict[EventType, Histogram]
) -> HistogramMetricFamily:
    """Return a family of histograms with one label and the same bounds, in seconds."""
    family = HistogramMetricFamily(name, text, labels=(label,), unit="seconds")
    bounds = spelled(next(iter(values.values())).bounds)
    for value, histogram in values.items():
        counts = list(accumulate(histogram.buckets))
        family.add_metric((str(value),), list(zip(bounds, counts, strict=True)), histogram.sum)
    return family
