"""Families of partitions: positions, ends, and resets by topic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from exporter.feeds.partitions import TopicCounts
from exporter.model import Partition
from exporter.status import PartitionStatus


def partition_families(partitions: Iterable[PartitionStatus]) -> tuple[Metric, ...]:
    """Return the families of where the sidecar is on each partition."""
    labels = ("topic", "partition")
    lag = GaugeMetricFamily(
        "marketdata_consumer_lag_records",
        "Records between the position and the end of the partition.",
        labels=labels,
    )
    position = GaugeMetricFamily("marketdata_consumer_position_offset", "Next offset to read.", labels=labels)
    high = GaugeMetricFamily(
        "marketdata_consumer_high_watermark_offset", "End of the partition, as last fetched.", labels=labels
    )
    last = GaugeMetricFamily(
        "marketdata_consumer_last_record_timestamp_seconds",
        "Kafka's timestamp of the last record read.",
        labels=labels,
    )
    for partition, offset, end, last_record_ms in partitions:
        values = (partition.topic, str(partition.number))
        position.add_metric(values, offset)
        if last_record_ms > 0:
            last.add_metric(values, last_record_ms / 1000)
        if end is not None:
            high.add_metric(values, end)
            lag.add_metric(values, max(0, end - offset))
    return lag, position, high, last


def merged(partitions: Iterable[PartitionStatus], shown_as: Callable[[str], str]) -> list[PartitionStatus]:
    """Return the partitions by the names of their topics: those of one name and number as one, with summed offsets.

    Where an end is unknown, the offset counts as the end, unless all are unknown.
    """
    parts: dict[Partition, list[PartitionStatus]] = defaultdict(list)
    for each in partitions:
        parts[Partition(shown_as(each.partition.topic), each.partition.number)].append(each)
    return [some[0]._replace(partition=name) if len(some) == 1 else _sum(name, some) for name, some in parts.items()]


def _sum(name: Partition, parts: Iterable[PartitionStatus]) -> PartitionStatus:
    some = list(parts)
    ends = [max(each.offset, each.end or 0) for each in some] if any(each.end is not None for each in some) else None
    offset, last_ms = sum(each.offset for each in some), max(each.last_record_ms for each in some)
    return PartitionStatus(name, offset, None if ends is None else sum(ends), last_ms)


def reset_families(topics: Mapping[str, TopicCounts]) -> tuple[Metric, ...]:
    """Return the families of the resets of each topic: how many by cause, and the time of the last one."""
    labels = ("topic", "cause")
    resets = CounterMetricFamily(
        "marketdata_partition_resets",
        "Partitions that could not be read on from their last position, by cause.",
        labels=labels,
    )
    last = GaugeMetricFamily(
        "marketdata_partition_last_reset_timestamp_seconds",
        "Unix time of the last reset of a partition, by cause.",
        labels=labels,
    )
    for topic, counts in topics.items():
        for cause, number in counts.resets.items():
            resets.add_metric((topic, cause.value), number)
        for cause, moment_ms in dict(counts.reset_ms).items():
            last.add_metric((topic, cause.value), moment_ms / 1000)
    return resets, last
