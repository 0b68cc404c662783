"""Families of partitions: positions, ends, and resets by topic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from exporter.feeds.partitions import TopicCounts
from exporter.instrument.selection import ALL, Selection
from exporter.model import Partition
from exporter.status import PartitionStatus


def _lag(partition: PartitionStatus) -> float | None:
    return None if partition.end is None else max(0, partition.end - partition.offset)


_OF_PARTITIONS: tuple[tuple[str, str, Callable[[PartitionStatus], float | None]], ...] = (
    ("marketdata_consumer_lag_records", "Records between the position and the end of the partition.", _lag),
    ("marketdata_consumer_position_offset", "Next offset to read.", lambda each: each.offset),
    ("marketdata_consumer_high_watermark_offset", "End of the partition, as last known.", lambda each: each.end),
    (
        "marketdata_consumer_last_record_timestamp_seconds",
        "Kafka's timestamp of the last record read.",
        lambda each: each.last_record_ms / 1000 if each.last_record_ms > 0 else None,
    ),
)


def partition_families(partitions: Iterable[PartitionStatus], shown: Selection = ALL) -> list[Metric]:
    """Return the families of where the sidecar is on each partition, as far as they are shown."""
    found: list[Metric] = []
    labelled = [((each.partition.topic, str(each.partition.number)), each) for each in partitions]
    chosen = shown.names([name for name, _, _ in _OF_PARTITIONS], "gauge")
    for name, text, value in _OF_PARTITIONS:
        if name in chosen:
            family = GaugeMetricFamily(name, text, labels=("topic", "partition"))
            for labels, each in labelled:
                if (number := value(each)) is not None:
                    family.add_metric(labels, number)
            found.append(family)
    return found


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
