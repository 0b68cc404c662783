"""Names that Prometheus does not take are errors, and what promtool finds is found too."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.instrument.conventions import check_labels, check_metric
from exporter.instrument.measurements import MetricType
from tests.support.prometheus import promtool

COUNTER, GAUGE, HISTOGRAM, SUMMARY = MetricType
GOOD = [
    ("http_requests_total", COUNTER),
    ("orders_value_euros_total", COUNTER),
    ("process_cpu_seconds_total", COUNTER),
    ("inventory_level", GAUGE),
    ("active_connections", GAUGE),
    ("queue_memory_bytes", GAUGE),
    ("disk_written_bytes_per_second", GAUGE),
    ("response_time_seconds", HISTOGRAM),
    ("batch_messages", HISTOGRAM),
    ("request_duration_seconds", SUMMARY),
]
BAD = [
    ("http_requests", COUNTER, "_total"),
    ("inventory_total", GAUGE, "_total is for counters"),
    ("response_time", HISTOGRAM, "no unit"),
    ("request_latency", SUMMARY, "no unit"),
    ("cache_latency", GAUGE, "no unit"),
    ("response_time_ms", HISTOGRAM, "base unit of ms is seconds"),
    ("uptime_hours", GAUGE, "base unit of hours is seconds"),
    ("disk_written_megabytes_per_second", GAUGE, "base unit of megabytes is bytes"),
    ("disk_free_megabytes", GAUGE, "base unit of megabytes is bytes"),
    ("value", GAUGE, "vague"),
    ("my_data_total", COUNTER, "vague"),
    ("app_gauge_items", GAUGE, "type"),
    ("requestsInFlight", GAUGE, "snake_case"),
    ("job:requests:rate", GAUGE, "colons"),
    ("queue_count", GAUGE, "_count"),
    ("queue_sum", GAUGE, "_sum"),
    ("queue_bucket", GAUGE, "_bucket"),
]


@pytest.mark.parametrize(("name", "kind"), GOOD)
def test_a_good_name_gives_no_finding(name: str, kind: MetricType) -> None:
    assert check_metric(name, kind) == []


@pytest.mark.parametrize(("name", "kind", "finding"), BAD)
def test_a_name_against_the_conventions_is_found(name: str, kind: MetricType, finding: str) -> None:
    assert any(finding in each for each in check_metric(name, kind))


def page(name: str, kind: MetricType) -> str:
    samples = {
        HISTOGRAM: f'{name}_bucket{{le="+Inf"}} 1\n{name}_sum 1\n{name}_count 1\n',
        SUMMARY: f"{name}_sum 1\n{name}_count 1\n",
    }
    return f"# HELP {name} Help.\n# TYPE {name} {kind}\n{samples.get(kind, f'{name} 1{chr(10)}')}"


def test_promtool_finds_nothing_in_the_good_names() -> None:
    promtool("check", "metrics", input="".join(page(name, kind) for name, kind in GOOD))


def test_whatever_promtool_finds_is_found() -> None:
    with pytest.raises(AssertionError) as found:
        promtool("check", "metrics", input="".join(page(name, kind) for name, kind, _ in BAD))
    faulty = set(re.findall(r"^(\w\S*) ", str(found.value), re.MULTILINE)) & {name for name, _, _ in BAD}
    assert len(faulty) > 5
    kinds = {name: kind for name, kind, _ in BAD}
    assert [name for name in faulty if not check_metric(name, kinds[name])] == []


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", "größe", "a.b", "__name__", "a\n"])
def test_a_name_that_prometheus_does_not_take_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a metric"):
        check_metric(name, GAUGE)


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a:b", "größe", "__other", "a\n"])
def test_a_label_that_prometheus_does_not_take_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="label"):
        check_labels([name], GAUGE)


def test_labels_of_the_samples_themselves_are_errors() -> None:
    with pytest.raises(ValueError, match="le is"):
        check_labels(["le"], HISTOGRAM)
    with pytest.raises(ValueError, match="quantile is"):
        check_labels(["quantile"], SUMMARY)
    assert check_labels(["le", "quantile"], GAUGE) == []


@pytest.mark.parametrize("name", ["user_id", "request_id", "timestamp", "userId", "email", "trace_id", "url"])
def test_a_label_with_values_without_bound_is_found(name: str) -> None:
    assert any("without bound" in each for each in check_labels([name], COUNTER))


@pytest.mark.parametrize("name", ["method", "status", "product_id", "exchange", "le"])
def test_a_label_with_few_values_gives_no_finding(name: str) -> None:
    assert check_labels([name], COUNTER) == []


@given(st.text(string.ascii_letters + "_:", min_size=1), st.sampled_from(MetricType))
def test_every_other_name_is_taken(name: str, kind: MetricType) -> None:
    if not name.startswith("__"):
        assert all(check_metric(name, kind))
