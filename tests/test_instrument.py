"""Programs measure themselves: what they record is in prometheus-client's registry, with checked names and limits."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import math
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator

import prometheus_client
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.instrument import (
    Failure,
    MemoryMetricsStorage,
    MemoryStorage,
    MetricsCollector,
    MetricType,
    PrometheusStorage,
    StorageError,
    UnwrapError,
    get_metrics_collector,
    record_counter,
    record_gauge,
    record_histogram,
    record_summary,
)
from exporter.instrument.library import notices
from exporter.instrument.library.rules import BEYOND
from exporter.instrument.storages.storage import Source
from exporter.performance import EventBus


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of this test's own."""
    return CollectorRegistry()


@pytest.fixture
def collector(registry: CollectorRegistry) -> MetricsCollector:
    """A collector of that registry."""
    return MetricsCollector(registry=registry)


@pytest.fixture(autouse=True)
def findings(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What was logged in this test, as if it were the first of its process."""
    notices._given.clear()
    with caplog.at_level(logging.INFO, "exporter.instrument"):
        yield caplog


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


# Metrics.


def test_a_counter_counts(collector: MetricsCollector, registry: CollectorRegistry) -> None:
    counter = collector.counter("http_requests_total", description="Requests.", labels={"method": "GET"})
    counter.increment(5)
    counter.increment()
    assert counter.get_value() == 6.0
    assert value(registry, "http_requests_total", method="GET") == 6.0
    assert b"# HELP http_requests_total Requests." in generate_latest(registry)


def test_a_counter_never_falls(collector: MetricsCollector) -> None:
    counter = collector.counter("http_requests_total")
    with pytest.raises(ValueError, match="non-negative"):
        counter.increment(-1)
    assert counter.get_value() == 0.0


def test_a_gauge_has_labels_of_each_call(collector: MetricsCollector, registry: CollectorRegistry) -> None:
    gauge = collector.gauge("inventory_level")
    gauge.set(10, labels={"product_id": "7"})
    gauge.increment(2, labels={"product_id": "7"})
    gauge.decrement(1, labels={"product_id": "7"})
    gauge.set(3, labels={"product_id": "8"})
    assert gauge.get_value(labels={"product_id": "7"}) == 11.0
    assert value(registry, "inventory_level", product_id="7") == 11.0
    assert value(registry, "inventory_level", product_id="8") == 3.0


def test_a_gauge_without_labels_rises_and_falls(collector: MetricsCollector, registry: CollectorRegistry) -> None:
    gauge = collector.gauge("active_connections")
    gauge.increment()
    gauge.increment(3)
    gauge.decrement()
    assert gauge.get_value() == 3.0
    gauge.set(7)
    gauge.decrement(2)
    assert value(registry, "active_connections") == 5.0


def test_a_histogram_estimates_quantiles_as_prometheus_does(
    collector: MetricsCollector, registry: CollectorRegistry
) -> None:
    histogram = collector.histogram("response_time_seconds", buckets=[0.1, 0.5, 1.0])
    for seconds in (0.25, 0.05, 0.7, 30.0):
        histogram.observe(seconds)
    assert histogram.get_quantile(0.25) == pytest.approx(0.1)
    assert histogram.get_quantile(0.5) == pytest.approx(0.5)
    assert histogram.get_quantile(0.99) == 1.0
    assert value(registry, "response_time_seconds_bucket", le="0.5") == 2.0
    assert value(registry, "response_time_seconds_count") == 4.0


def test_a_quantile_in_the_lowest_bucket_below_zero_is_its_bound(collector: MetricsCollector) -> None:
    histogram = collector.histogram("drift_seconds", buckets=[-1.0, 0.0, 1.0])
    histogram.observe(-5)
    assert histogram.get_quantile(0.5) == -1.0


def test_there_is_no_quantile_without_values(collector: MetricsCollector) -> None:
    assert math.isnan(collector.histogram("response_time_seconds").get_quantile(0.5))
    assert math.isnan(collector.summary("request_duration_seconds").get_quantile(0.5))
    assert collector.summary("request_duration_seconds").get_statistics()["count"] == 0


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_quantile_is_a_share(collector: MetricsCollector, q: float) -> None:
    for metric in (collector.histogram("response_time_seconds"), collector.summary("request_duration_seconds")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            metric.get_quantile(q)


def test_a_summary_shows_quantiles_of_its_window(collector: MetricsCollector, registry: CollectorRegistry) -> None:
    summary = collector.summary("request_duration_seconds", max_age=600, max_samples=10_000)
    for number in range(1, 101):
        summary.observe(number / 100)
    assert summary.get_statistics() == {
        "count": 100,
        "sum": pytest.approx(50.5),
        "mean": pytest.approx(0.505),
        "min": 0.01,
        "max": 1.0,
        "p50": pytest.approx(0.505),
        "p95": pytest.approx(0.9505),
        "p99": pytest.approx(0.9901),
    }
    assert summary.get_quantile(0.5) == pytest.approx(0.505)
    assert value(registry, "request_duration_seconds", quantile="0.95") == pytest.approx(0.9505)
    assert value(registry, "request_duration_seconds_count") == 100.0


def test_summaries_with_labels_have_windows_of_their_own(
    collector: MetricsCollector, registry: CollectorRegistry
) -> None:
    get = collector.summary("request_duration_seconds", labels={"method": "GET"})
    get.observe(1.0)
    get.observe(3.0, labels={"method": "POST"})
    assert (get.get_statistics()["sum"], get.get_statistics({"method": "POST"})["sum"]) == (1.0, 3.0)
    assert value(registry, "request_duration_seconds", quantile="0.5", method="POST") == 3.0


def test_both_formats_of_prometheus_can_be_read(collector: MetricsCollector, registry: CollectorRegistry) -> None:
    for method in ("GET", "POST"):
        collector.summary("request_duration_seconds").observe(1.0, {"method": method})
        collector.histogram("response_time_seconds").observe(1.0, {"method": method})
    families = list(text_string_to_metric_families(openmetrics(registry).decode()))
    assert {family.type for family in families} == {"summary", "histogram"}
    [summary] = [family for family in families if family.type == "summary"]
    assert [sample.labels.get("quantile") for sample in summary.samples[:3]] == ["0.5", "0.95", "0.99"]


# Labels.


def test_labels_of_a_call_are_added_to_those_of_the_metric(
    collector: MetricsCollector, registry: CollectorRegistry
) -> None:
    counter = collector.counter("http_requests_total", labels={"method": "GET"})
    counter.increment(labels={"status": "200"})
    counter.increment(labels={"status": "200", "method": "POST"})
    assert value(registry, "http_requests_total", method="GET", status="200") == 1.0
    assert value(registry, "http_requests_total", method="POST", status="200") == 1.0


def test_other_labels_than_those_of_the_first_use_are_errors(collector: MetricsCollector) -> None:
    counter = collector.counter("http_requests_total")
    counter.increment(labels={"method": "GET"})
    for wrong in ({"path": "/"}, {}, {"method": "GET", "path": "/"}):
        with pytest.raises(ValueError, match=r"labels of http_requests_total are \['method'\]"):
            counter.increment(labels=wrong)
    with pytest.raises(ValueError, match="labels of"):
        counter.increment()


def test_values_of_labels_are_text(collector: MetricsCollector) -> None:
    counter = collector.counter("http_requests_total")
    for status in (200, "200"):
        counter.increment(labels={"status": status})
    assert counter.get_value({"status": 200}) == 2.0
    assert counter.get_value({"status": True}) == 0.0


def test_a_broken_text_does_not_break_the_page(collector: MetricsCollector, registry: CollectorRegistry) -> None:
    collector.counter("http_requests_total").increment(labels={"agent": "a\udc80b"})
    assert 'agent="a?b"' in generate_latest(registry).decode()


def test_a_metric_is_shown_before_its_first_use(collector: MetricsCollector, registry: CollectorRegistry) -> None:
    """A rate needs the zero."""
    collector.counter("jobs_total")
    collector.counter("errors_seen_total", labels={"kind": "io"})
    collector.counter("errors_seen_total", labels={"kind": "parse"})
    assert value(registry, "jobs_total") == 0.0
    assert value(registry, "errors_seen_total", kind="io") == value(registry, "errors_seen_total", kind="parse") == 0.0
    collector.counter("errors_seen_total").increment(labels={"kind": "other"})
    assert value(registry, "errors_seen_total", kind="io") == 0.0


def test_a_metric_has_as_many_label_sets_as_it_may_and_counts_the_others(
    registry: CollectorRegistry, findings: pytest.LogCaptureFixture
) -> None:
    collector = MetricsCollector(registry=registry, max_series=3)
    counter = collector.counter("jobs_total")
    summary = collector.summary("job_duration_seconds")
    for number in range(10):
        counter.increment(labels={"queue": f"q{number}"})
        summary.observe(number, labels={"queue": f"q{number}"})
    assert value(registry, "jobs_total", queue="__other__") == 7.0
    assert value(registry, "jobs_total", queue="q2") == 1.0
    assert value(registry, "jobs_total", queue="q3") is None
    assert value(registry, "job_duration_seconds", queue="__other__", quantile="0.5") == 6.0
    assert value(registry, BEYOND, metric="jobs_total") == 7.0
    warnings = [record.getMessage() for record in findings.records if "__other__" in record.getMessage()]
    assert len(warnings) == 2
    assert BEYOND in {each.name for each in collector.snapshot()}


def test_a_metric_made_with_labels_beyond_the_limit_is_counted_at_each_call(registry: CollectorRegistry) -> None:
    collector = MetricsCollector(registry=registry, max_series=1)
    first, second = (collector.gauge("queue_length", labels={"queue": name}) for name in "ab")
    first.set(1)
    second.set(2)
    second.increment()
    assert value(registry, "queue_length", queue="__other__") == 3.0
    assert value(registry, BEYOND, metric="queue_length") == 3.0


# Names.


def test_a_finding_is_logged_once(collector: MetricsCollector, findings: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        collector.counter("http_requests").increment(labels={"user_id": "1"})
    assert [record.getMessage() for record in findings.records] == [
        "metric http_requests: the name of a counter ends in _total, which is added on /metrics",
        "metric http_requests: the label user_id has values without bound, each of them a series",
    ]


def test_findings_are_errors_if_strict(registry: CollectorRegistry) -> None:
    collector = MetricsCollector(registry=registry, strict=True)
    with pytest.raises(ValueError, match="no unit"):
        collector.histogram("response_time")
    with pytest.raises(ValueError, match="user_id"):
        collector.counter("http_requests_total", labels={"user_id": "1"})
    counter = collector.counter("http_requests_total")
    with pytest.raises(ValueError, match="request_id"):
        counter.increment(labels={"request_id": "1"})
    counter.increment(labels={"method": "GET"})


def test_names_that_prometheus_does_not_take_are_errors(collector: MetricsCollector) -> None:
    with pytest.raises(ValueError, match="no name of a metric"):
        collector.counter("http-requests")
    with pytest.raises(ValueError, match="no name of a label"):
        collector.counter("http_requests_total", labels={"http-method": "GET"})
    with pytest.raises(ValueError, match="no name of a label"):
        collector.counter("http_requests_total").increment(labels={"http-method": "GET"})
    with pytest.raises(ValueError, match="le is"):
        collector.histogram("response_time_seconds").observe(1, labels={"le": "1"})


# Collectors and registries.


def test_the_default_registry_is_that_of_prometheus_client() -> None:
    MetricsCollector().gauge("instrument_test_temperature_celsius").set(21)
    assert value(REGISTRY, "instrument_test_temperature_celsius") == 21.0


def test_collectors_of_one_registry_share_a_metric(registry: CollectorRegistry) -> None:
    one, two = (MetricsCollector(registry=registry) for _ in range(2))
    one.counter("jobs_total").increment()
    two.counter("jobs_total").increment()
    two.counter("jobs").increment()
    assert value(registry, "jobs_total") == 3.0


def test_a_name_has_one_type_and_one_set_of_options(collector: MetricsCollector) -> None:
    collector.histogram("response_time_seconds", buckets=[1, 2])
    collector.histogram("response_time_seconds", buckets=(1.0, 2.0))
    collector.histogram("response_time_seconds")
    with pytest.raises(ValueError, match="other options"):
        collector.histogram("response_time_seconds", buckets=[1, 2, 3])
    with pytest.raises(ValueError, match="is a histogram already"):
        collector.summary("response_time_seconds")
    collector.summary("request_duration_seconds", max_age=60)
    with pytest.raises(ValueError, match="other options"):
        collector.summary("request_duration_seconds", max_age=61)


def test_a_name_that_something_else_has_is_an_error(collector: MetricsCollector, registry: CollectorRegistry) -> None:
    prometheus_client.Counter("jobs", "Jobs.", registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        collector.counter("jobs_total")
    collector.counter("tasks_total")
    with pytest.raises(ValueError, match="Duplicated"):
        prometheus_client.Counter("tasks", "Tasks.", registry=registry)


def test_a_registry_that_is_no_longer_used_is_freed() -> None:
    collector = MetricsCollector(registry=CollectorRegistry(), max_series=1)
    for number in range(2):
        collector.summary("job_duration_seconds").observe(1, {"queue": number})
    gone = weakref.ref(collector.registry)
    del collector
    gc.collect()
    assert gone() is None


def test_the_collector_is_one_of_prometheus_client(collector: MetricsCollector) -> None:
    collector.counter("jobs_total").increment(3)
    other = CollectorRegistry()
    other.register(collector)
    assert value(other, "jobs_total") == 3.0


@pytest.mark.parametrize("wrong", [{"max_series": 0}, {"max_series": -1}])
def test_a_limit_without_sense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="max_series"):
        MetricsCollector(registry=CollectorRegistry(), max_series=wrong["max_series"])


def test_the_collector_of_the_process_is_always_the_same() -> None:
    assert get_metrics_collector() is get_metrics_collector()
    assert get_metrics_collector().registry is REGISTRY


def test_metrics_are_recorded_by_name() -> None:
    for _ in range(2):
        record_counter("instrument_test_jobs_total", 2, {"queue": "a"})
        record_gauge("instrument_test_queue_length", 4, {"queue": "a"}, description="Jobs.")
        record_histogram("instrument_test_wait_seconds", 0.5, {"queue": "a"}, buckets=[1.0])
        record_summary("instrument_test_run_seconds", 0.5, {"queue": "a"})
    record_counter("instrument_test_starts_total")
    assert value(REGISTRY, "instrument_test_jobs_total", queue="a") == 4.0
    assert value(REGISTRY, "instrument_test_queue_length", queue="a") == 4.0
    assert value(REGISTRY, "instrument_test_wait_seconds_bucket", queue="a", le="1.0") == 2.0
    assert value(REGISTRY, "instrument_test_run_seconds", queue="a", quantile="0.5") == 0.5
    assert value(REGISTRY, "instrument_test_starts_total") == 1.0


def test_threads_lose_no_call(registry: CollectorRegistry) -> None:
    collector = MetricsCollector(registry=registry)
    together = threading.Barrier(8)

    def work() -> None:
        together.wait()
        for number in range(2_000):
            collector.counter("jobs_total").increment(labels={"queue": str(number % 50)})
            collector.summary("job_duration_seconds").observe(1.0)
            collector.histogram("job_wait_seconds").observe(1.0)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum([each.value for each in collector.snapshot() if each.name == "jobs_total"]) == 16_000
    assert collector.summary("job_duration_seconds").get_statistics()["count"] == 16_000
    assert value(registry, "job_wait_seconds_count") == 16_000


# Reading and storing.


def test_all_metrics_can_be_read(collector: MetricsCollector) -> None:
    collector.counter("jobs_total", "Jobs.", {"queue": "a"}).increment(3)
    collector.histogram("job_wait_seconds", buckets=[1.0]).observe(0.5)
    metrics = asyncio.run(collector.get_all_metrics())
    assert [(each.name, each.metric_type, each.value, each.labels) for each in metrics] == [
        ("jobs_total", MetricType.COUNTER, 3.0, {"queue": "a"}),
        ("job_wait_seconds_bucket", "histogram", 1.0, {"le": "1.0"}),
        ("job_wait_seconds_bucket", "histogram", 1.0, {"le": "+Inf"}),
        ("job_wait_seconds_count", "histogram", 1.0, {}),
        ("job_wait_seconds_sum", "histogram", 0.5, {}),
    ]
    assert metrics[0].description == "Jobs."
    assert len({each.timestamp for each in metrics}) == 1


def test_metrics_are_json(collector: MetricsCollector) -> None:
    collector.gauge("room_temperature_celsius", "Warmth.").set(21.5)
    for broken, spelled in ((math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf")):
        collector.gauge("broken_temperature_celsius").set(broken)
        [first, second] = json.loads(collector.export_json())
        assert second["value"] == spelled
    assert first == {
        "name": "room_temperature_celsius",
        "metric_type": "gauge",
        "value": 21.5,
        "labels": {},
        "timestamp": first["timestamp"],
        "description": "Warmth.",
    }


def test_metrics_are_stored_in_memory(registry: CollectorRegistry) -> None:
    storage = MemoryStorage(max_snapshots=2)
    collector = MetricsCollector(storage=storage, registry=registry)
    counter = collector.counter("jobs_total", labels={"queue": "a"})
    assert storage.latest() == []
    for _ in range(3):
        counter.increment()
        result = asyncio.run(collector.collect_and_store())
        assert result.is_success()
        assert not result.is_failure()
        assert result.unwrap() == 1
    with pytest.raises(UnwrapError):
        result.unwrap_err()
    assert [each.value for each in storage.history("jobs_total", {"queue": "a"})] == [2.0, 3.0]
    assert storage.history("jobs_total", {"queue": "b"}) == storage.history("jobs") == []
    assert [each.value for each in storage.latest()] == [3.0]
    assert MemoryMetricsStorage is MemoryStorage


def test_the_page_of_a_registry_is_a_storage(registry: CollectorRegistry) -> None:
    storage = PrometheusStorage(registry)
    collector = MetricsCollector(storage=storage)
    collector.counter("jobs_total").increment()
    assert collector.store().unwrap() == 1
    assert b"jobs_total 1.0" in storage.page()
    assert storage.content_type.startswith("text/plain")


class Broken:
    """A storage of a program, with a fault."""

    def store(self, source: Source) -> int:
        """Fail."""
        raise KeyError(len(source.snapshot()))

    def close(self) -> None:
        """Do nothing."""


def test_a_storage_that_fails_is_a_result_and_no_exception(registry: CollectorRegistry) -> None:
    result = asyncio.run(MetricsCollector(Broken(), registry=registry).collect_and_store())
    assert isinstance(result, Failure)
    assert result.is_failure()
    assert not result.is_success()
    error = result.unwrap_err()
    assert isinstance(error, StorageError)
    assert isinstance(error.__cause__, KeyError)
    with pytest.raises(UnwrapError, match="KeyError"):
        result.unwrap()


def test_what_is_pickled_is_refused_with_what_to_do_instead(collector: MetricsCollector) -> None:
    metrics = collector.counter("jobs_total"), collector.summary("run_seconds")
    for each in (collector, *metrics, EventBus(collector=collector)):
        with pytest.raises(TypeError, match=r"(MetricsCollector|Counter|Summary) belongs to one process .* make it in"):
            pickle.dumps(each)


def test_importing_the_library_loads_no_client_of_the_sidecar() -> None:
    """And not asyncio, for a program that has no use for it."""
    program = (
        "import sys\n"
        "from exporter.instrument import MetricsCollector, PerformanceMonitored, record_counter\n"
        "record_counter('starts_total')\n"
        "print({'aiohttp', 'confluent_kafka', 'redis', 'requests', 'yaml', 'asyncio', 'fastavro'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("buckets", [[], [2, 1], [1, 1], [math.nan], [math.inf]])
def test_buckets_that_do_not_increase_are_refused_when_the_metric_is_made(
    collector: MetricsCollector, registry: CollectorRegistry, buckets: list[float]
) -> None:
    """They would make the whole page fail."""
    with pytest.raises(ValueError, match="buckets of wait_seconds"):
        collector.histogram("wait_seconds", buckets=buckets)
    assert generate_latest(registry) == b""


def test_labels_in_place_of_the_description_are_refused(collector: MetricsCollector) -> None:
    with pytest.raises(TypeError, match="labels="):
        collector.counter("orders_total", {"side": "buy"})  # type: ignore[arg-type]


@pytest.mark.parametrize("storage", ["memory", MemoryStorage])
def test_what_is_no_storage_is_refused(storage: object) -> None:
    with pytest.raises(TypeError, match=r"such as MemoryStorage\(\)"):
        MetricsCollector(storage)  # type: ignore[arg-type]
