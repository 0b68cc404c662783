"""Families about the consumer of a cache service, from its statistics at each scrape."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

import confluent_kafka
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter.ingestion.cache.metrics import TOPICS
from exporter.ingestion.consumer import ConsumerStatistics
from exporter.ingestion.handling import FAILED, INVALID


class ConsumerCollector(Collector):
    """Collector of the families; topics are shown without their prefix."""

    def __init__(self, get_statistics: Callable[[], ConsumerStatistics], prefix: str, version: str) -> None:
        self._get_statistics = get_statistics
        self._prefix = prefix
        self._version = version

    def describe(self) -> list[Metric]:
        """Return nothing: the families need a consumer that runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        found = self._get_statistics()
        labels = ("topic", "partition")
        lag = GaugeMetricFamily(
            "marketdata_cache_lag_records", "Records from the next event to the end of the partition.", labels=labels
        )
        queued = GaugeMetricFamily(
            "marketdata_cache_queued_events", "Events in memory that wait for their turn.", labels=labels
        )
        for partition, number, in_memory in found.partitions:
            values = (partition.topic.removeprefix(self._prefix), str(partition.number))
            queued.add_metric(values, in_memory)
            if number is not None:
                lag.add_metric(values, number)
        yield lag
        yield queued
        yield self._dead_letters(found)
        yield GaugeMetricFamily(
            "marketdata_cache_group_member",
            "Whether the service is a member of its consumer group, also without partitions.",
            float(found.is_member),
        )
        info = GaugeMetricFamily(
            "marketdata_cache_build_info", "1; the labels are versions.", labels=("version", "python", "librdkafka")
        )
        info.add_metric((self._version, platform.python_version(), confluent_kafka.libversion()[0]), 1)
        yield info

    def _dead_letters(self, found: ConsumerStatistics) -> Metric:
        family = CounterMetricFamily(
            "marketdata_cache_dead_letters", "Events set aside, by reason.", labels=("topic", "reason")
        )
        for topic in TOPICS:
            for reason in (INVALID, FAILED):
                family.add_metric((topic, reason), found.dead_letters.get((self._prefix + topic, reason), 0))
        return family
