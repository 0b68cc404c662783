"""Families of metrics from the state of the loop, made anew at each scrape.

What is known of feeds is rendered here, because it is most of a page; the rest are prometheus_client's families. The
lock is held while some feeds are copied, never while text is made. Names, types, labels and help of every family of
the sidecar's core stand in this file.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import NamedTuple

import confluent_kafka
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.samples import Exemplar

from exporter.analysis import Analysis
from exporter.config import Config
from exporter.exposition import Family, label_text
from exporter.feeds import COUNT_BOUNDS, EFFICIENCY_BOUNDS, Feed
from exporter.histogram import Histogram
from exporter.logs import LogCounter
from exporter.loop import Loop
from exporter.model import Anomaly, BatchResult, EventType, FeedKey, Reason
from exporter.source import SourceCounts

# Feeds that are copied at once while the loop waits: about half a millisecond.
COPIED_FEEDS = 200


class FeedSpec(NamedTuple):
    """One family of all feeds."""

    name: str
    kind: str
    help: str
    unit: str = ""


FEED_SPECS = (
    FeedSpec("marketdata_batches", "counter", "Batches accepted."),
    FeedSpec("marketdata_messages", "counter", "Messages in accepted batches."),
    FeedSpec("marketdata_batch_size", "histogram", "Messages in a batch."),
    FeedSpec("marketdata_batch_unique_symbols", "histogram", "Different symbols in a batch."),
    FeedSpec(
        "marketdata_batch_cache_efficiency_ratio", "histogram", "1 / unique symbols of a batch; 0 when empty.", "ratio"
    ),
    FeedSpec("marketdata_anomalies", "counter", "Suspicious things in valid batches, by kind."),
    FeedSpec("marketdata_last_batch_size", "gauge", "Messages in the last batch."),
    FeedSpec("marketdata_last_batch_unique_symbols", "gauge", "Different symbols in the last batch."),
    FeedSpec("marketdata_last_batch_cache_efficiency_ratio", "gauge", "1 / unique symbols of the last batch.", "ratio"),
    FeedSpec(
        "marketdata_feed_last_batch_timestamp_seconds", "gauge", "Newest timestamp_ms of a batch, Unix time.", "seconds"
    ),
    FeedSpec(
        "marketdata_feed_last_message_timestamp_seconds", "gauge", "Newest stamp of a message, Unix time.", "seconds"
    ),
    FeedSpec(
        "marketdata_feed_last_received_timestamp_seconds",
        "gauge",
        "When the sidecar last analyzed a batch, Unix time.",
        "seconds",
    ),
)


class FeedCopy(NamedTuple):
    """What a scrape shows of a feed, at one moment."""

    labels: str
    batches: int
    messages: int
    unique_sum: int
    efficiency_sum: float
    size_buckets: list[int]
    unique_buckets: list[int]
    efficiency_buckets: list[int]
    anomalies: dict[Anomaly, int]
    last: BatchResult | None
    last_batch_ms: int
    last_message_ms: int
    last_received_ms: int


class SidecarMetrics:
    """Collects the families of one running sidecar; any thread may scrape."""

    def __init__(self, config: Config, loop: Loop, source: SourceCounts, logs: LogCounter, version: str) -> None:
        self._expected = [expected.feed for expected in config.feeds.expected]
        self._backlog_events = config.output.backlog.events
        self._loop = loop
        self._source = source
        self._logs = logs
        self._version = version
        self._labels: dict[Feed, str] = {}

    def collect(self) -> Iterator[Metric | Family]:
        """Yield every family of the core, feeds first."""
        analysis = self._loop.analysis
        yield from feed_families(self._copies())
        yield expected_family(self._expected)
        yield from record_families(analysis)
        yield from self._consumer_families()
        yield from self._publisher_families()
        yield histograms(
            "marketdata_processing_seconds",
            "Where the time of a turn of the loop goes.",
            "stage",
            self._loop.stages.items(),
        )
        yield from self._own_families()

    def _copies(self) -> list[FeedCopy]:
        copies: list[FeedCopy] = []
        with self._loop.lock:
            feeds = iter(list(self._loop.analysis.table.feeds.values()))
        while some := list(islice(feeds, COPIED_FEEDS)):
            with self._loop.lock:
                copies += [copied(feed, self._label_text(feed)) for feed in some]
        return copies

    def _label_text(self, feed: Feed) -> str:
        text = self._labels.get(feed)
        if text is None:
            text = self._labels[feed] = label_text(feed.key._asdict())
        return text

    def _consumer_families(self) -> Iterator[Metric]:
        loop = self._loop
        with loop.lock:
            owned = {
                partition: (loop.position(partition), state) for partition, state in loop.analysis.partitions.items()
            }
        labels = ("topic", "partition")
        lag = GaugeMetricFamily(
            "marketdata_consumer_lag_records",
            "Records between our position and the end of the partition.",
            labels=labels,
        )
        position = GaugeMetricFamily("marketdata_consumer_position_offset", "Next offset to read.", labels=labels)
        high = GaugeMetricFamily(
            "marketdata_consumer_high_watermark_offset", "End of the partition, as last fetched.", labels=labels
        )
        last = GaugeMetricFamily(
            "marketdata_consumer_last_record_timestamp_seconds",
            "Kafka's timestamp of the last record read, Unix time.",
            labels=labels,
        )
        for partition, (offset, state) in owned.items():
            values = (partition.topic, str(partition.number))
            position.add_metric(values, offset)
            if state.last_record_ms > 0:
                last.add_metric(values, state.last_record_ms / 1000)
            if (mark := loop.high_watermarks.get(partition)) is not None:
                high.add_metric(values, mark)
                lag.add_metric(values, max(0, mark - offset))
        yield from (lag, position, high, last)
        yield counters(
            "marketdata_consumer_rebalances", "Rebalances, by what happened to us.", "event", self._source.rebalances
        )
        yield counters(
            "marketdata_consumer_kafka_errors", "Errors of librdkafka, by code.", "code", self._source.errors
        )

    def _publisher_families(self) -> Iterator[Metric]:
        publisher = self._loop.publisher
        counts = publisher.counts
        yield CounterMetricFamily(
            "marketdata_consumer_commits", "Commits of input offsets, with their events.", counts.commits
        )
        yield counters(
            "marketdata_consumer_commit_failures", "Commits that did not take place.", "reason", counts.commit_failures
        )
        yield counters("marketdata_events", "Events published for good.", "event_type", counts.events)
        yield counters("marketdata_events_failed", "Events that can never be published.", "event_type", counts.failed)
        yield histograms(
            "marketdata_event_delivery_seconds",
            "From the analysis of a batch to its event being published for good.",
            "event_type",
            counts.delivery.items(),
        )
        with self._loop.lock:
            waiting, _, _ = publisher.backlog_size()
        yield GaugeMetricFamily("marketdata_event_backlog", "Events not yet published for good.", waiting)
        yield GaugeMetricFamily(
            "marketdata_event_backlog_limit", "Events that may wait before reading pauses.", self._backlog_events
        )

    def _own_families(self) -> Iterator[Metric]:
        versions = {
            "version": self._version,
            "python": platform.python_version(),
            "librdkafka": confluent_kafka.libversion()[0],
        }
        build = GaugeMetricFamily(
            "marketdata_exporter_build_info", "1; the labels say what runs.", labels=list(versions)
        )
        build.add_metric(list(versions.values()), 1)
        yield build
        ready = self._loop.ready().ok
        yield GaugeMetricFamily("marketdata_exporter_ready", "Whether /-/ready says yes.", float(ready))
        yield counters("marketdata_exporter_log_messages", "Lines logged, by level.", "level", self._logs.lines)
        topics = list(self._loop.analysis.topics.values())
        overflow = {
            "feed": sum(topic.rejected[Reason.TOO_MANY_FEEDS] for topic in topics),
            "symbol": sum(topic.rejected[Reason.TOO_MANY_SYMBOLS] for topic in topics),
        }
        yield counters(
            "marketdata_exporter_label_overflow",
            "Records rejected because a limit on names was hit.",
            "label",
            overflow,
        )


def copied(feed: Feed, labels: str) -> FeedCopy:
    """Copy what a scrape shows of a feed; the last values only while the feed is ours."""
    return FeedCopy(
        labels,
        feed.batches,
        feed.messages,
        feed.unique_sum,
        feed.efficiency_sum,
        feed.size_buckets.copy(),
        feed.unique_buckets.copy(),
        feed.efficiency_buckets.copy(),
        feed.anomalies.copy(),
        feed.last if feed.partitions else None,
        feed.last_batch_ms,
        feed.last_message_ms,
        feed.last_received_ms,
    )


def feed_families(copies: Sequence[FeedCopy]) -> Iterator[Family]:
    """Yield the families of all feeds."""
    columns: list[Callable[[str, FeedCopy], str]] = [
        lambda name, feed: f"{name}_total{{{feed.labels}}} {feed.batches}\n",
        lambda name, feed: f"{name}_total{{{feed.labels}}} {feed.messages}\n",
        lambda name, feed: buckets(name, feed.labels, _COUNT_LE, feed.size_buckets, feed.messages),
        lambda name, feed: buckets(name, feed.labels, _COUNT_LE, feed.unique_buckets, feed.unique_sum),
        lambda name, feed: buckets(name, feed.labels, _EFFICIENCY_LE, feed.efficiency_buckets, feed.efficiency_sum),
        _anomalies,
        lambda name, feed: gauge(name, feed, lambda last: last.batch_size),
        lambda name, feed: gauge(name, feed, lambda last: last.unique_symbols),
        lambda name, feed: gauge(name, feed, lambda last: last.cache_efficiency),
        lambda name, feed: stamp(name, feed, feed.last_batch_ms),
        lambda name, feed: stamp(name, feed, feed.last_message_ms),
        lambda name, feed: stamp(name, feed, feed.last_received_ms),
    ]
    for spec, column in zip(FEED_SPECS, columns, strict=True):
        yield Family(spec.name, spec.kind, spec.help, spec.unit, [column(spec.name, feed) for feed in copies])


def _spelled(bounds: Iterable[float]) -> tuple[str, ...]:
    return (*(repr(float(bound)) for bound in bounds), "+Inf")


_COUNT_LE = _spelled(COUNT_BOUNDS)
_EFFICIENCY_LE = _spelled(EFFICIENCY_BOUNDS)


def buckets(name: str, labels: str, bounds: Sequence[str], counts: Sequence[int], total: float) -> str:
    """Return the lines of one histogram; `counts` are those of single buckets."""
    cumulated = list(accumulate(counts))
    lines = [f'{name}_bucket{{{labels},le="{bound}"}} {n}\n' for bound, n in zip(bounds, cumulated, strict=True)]
    lines.append(f"{name}_count{{{labels}}} {cumulated[-1]}\n{name}_sum{{{labels}}} {total}\n")
    return "".join(lines)


def gauge(name: str, feed: FeedCopy, value: Callable[[BatchResult], float]) -> str:
    """Return the line of a last value, or nothing when there is none."""
    return "" if feed.last is None else f"{name}{{{feed.labels}}} {value(feed.last)}\n"


def stamp(name: str, feed: FeedCopy, time_ms: int) -> str:
    """Return the line of a point in time, in seconds; an unknown one is absent."""
    return "" if feed.last is None or time_ms <= 0 else f"{name}{{{feed.labels}}} {time_ms / 1000}\n"


def _anomalies(name: str, feed: FeedCopy) -> str:
    return "".join(f'{name}_total{{{feed.labels},kind="{kind}"}} {n}\n' for kind, n in feed.anomalies.items())


def expected_family(feeds: Iterable[FeedKey]) -> Metric:
    """Return the family that says which feeds must exist."""
    family = GaugeMetricFamily(
        "marketdata_feed_expected", "1 for each feed that must exist, by configuration.", labels=FeedKey._fields
    )
    for feed in feeds:
        family.add_metric(feed, 1)
    return family


def record_families(analysis: Analysis) -> Iterator[Metric]:
    """Yield what became of the records of each topic."""
    topics = dict(analysis.topics)
    texts = {
        "records": "Records read for the first time: accepted, filtered or rejected.",
        "redelivered": "Records read again after this process had counted them.",
        "recovered": "Records read again after a start, to complete a summary; counted nowhere else.",
        "filtered": "Records of feeds that are not wanted here.",
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
            exemplar = None if place is None else _place(topic, *place)
            rejected.add_metric((topic, reason.value), number, exemplar=exemplar)
    yield rejected


def _place(topic: str, partition: int, offset: int) -> Exemplar:
    return Exemplar({"topic": topic, "partition": str(partition), "offset": str(offset)}, 1)


def counters(name: str, text: str, label: str, values: dict[str, int] | dict[EventType, int]) -> CounterMetricFamily:
    """Return a family of counters with one label."""
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, number in list(values.items()):
        family.add_metric((str(value),), number)
    return family


def histograms(name: str, text: str, label: str, values: Iterable[tuple[str, Histogram]]) -> HistogramMetricFamily:
    """Return a family of histograms with one label."""
    family = HistogramMetricFamily(name, text, labels=(label,), unit="seconds")
    for value, histogram in values:
        counts = list(accumulate(histogram.buckets))
        family.add_metric((str(value),), list(zip(_spelled(histogram.bounds), counts, strict=True)), histogram.sum)
    return family
