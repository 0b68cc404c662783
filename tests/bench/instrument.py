"""What calls of `exporter.instrument` cost beside those of prometheus-client, in one run and without a broker."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry

from exporter.instrument import CounterMetric, MetricsCollector, PerformanceMonitored, TimingMetric
from exporter.performance import LatencyMonitor
from tests.bench.bench import Bench, Subject
from tests.bench.figures import Cases

ROUND = 20_000
ROUNDS = 15
VALUES = [0.001 * (number % 997 + 1) for number in range(ROUND)]
Call = Callable[[float], object]


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Make each call many times, in turns with its counterpart; the least of the rounds counts."""
    cases: Cases = {}
    for _ in range(options.repeats):
        for name, ours, theirs in _calls():
            pairs = [(_round(ours), _round(theirs)) for _ in range(ROUNDS)]
            spent, beside = (min(times) for times in zip(*pairs, strict=True))
            case = cases.setdefault(name, {"call_us": [], "prometheus_client_us": [], "ratio": []})
            for figure, value in zip(case, (spent, beside, spent / beside), strict=True):
                case[figure].append(value)
        bench.progress("each call was made")
    return cases


def _round(call: Call) -> float:
    """Return the microseconds of one call."""
    begin = time.process_time()
    for value in VALUES:
        call(value)
    return (time.process_time() - begin) / ROUND * 1e6


def _calls() -> list[tuple[str, Call, Call]]:
    collector = MetricsCollector(registry=CollectorRegistry())
    labels = {"method": "GET", "status": "200"}
    counter, labelled = collector.counter("calls_total"), collector.counter("labelled_total")
    gauge, histogram = collector.gauge("queue_length"), collector.histogram("wait_seconds")
    summary, bound = collector.summary("run_seconds"), collector.counter("bound_total", labels=labels)
    own, monitor = _own(), LatencyMonitor(collector=collector)
    return [
        ("counter", counter.increment, own["counter"].inc),
        ("counter, made with labels", bound.increment, own["labelled"].labels(**labels).inc),
        (
            "counter, labels in the call",
            lambda value: labelled.increment(value, labels),
            lambda value: own["labelled"].labels(**labels).inc(value),
        ),
        ("gauge", gauge.set, own["gauge"].set),
        ("histogram", histogram.observe, own["histogram"].observe),
        ("summary, with quantiles", summary.observe, own["summary"].observe),
        ("decorated function", _decorated(collector), _decorated_by_own(own)),
        ("latency of a stage", _recorded(monitor), lambda value: own["stages"].labels("risk").observe(value)),
        (
            "block of a stage",
            _block(lambda: monitor.stage("risk")),
            _block(lambda: own["stages"].labels("risk").time()),
        ),
    ]


def _recorded(monitor: LatencyMonitor) -> Call:
    return lambda value: monitor.record("risk", value)


def _block(timer: Callable[[], AbstractContextManager[object]]) -> Call:
    def call(value: float) -> None:
        with timer():
            pass

    return call


def _own() -> dict[str, Any]:
    return {
        "counter": prometheus_client.Counter("calls", "", registry=None),
        "labelled": prometheus_client.Counter("labelled", "", ["method", "status"], registry=None),
        "gauge": prometheus_client.Gauge("queue_length", "", registry=None),
        "histogram": prometheus_client.Histogram("wait_seconds", "", registry=None),
        "summary": prometheus_client.Summary("run_seconds", "", registry=None),
        "stages": prometheus_client.Summary("stages_seconds", "", ["stage"], registry=None),
        "errors": prometheus_client.Counter("errors", "", registry=None),
    }


def _decorated(collector: MetricsCollector) -> Call:
    timing, calls, errors = (
        TimingMetric("work_seconds"),
        CounterMetric("work_total"),
        CounterMetric("work_errors_total"),
    )
    return PerformanceMonitored(timing, calls, errors, collector=collector)(lambda value: value)


def _decorated_by_own(own: dict[str, Any]) -> Call:
    """Return the same of prometheus-client's decorators, which do not count calls: the function itself does."""

    def work(value: float) -> float:
        own["counter"].inc()
        return value

    call: Call = own["histogram"].time()(own["errors"].count_exceptions()(work))
    return call


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=3)


INSTRUMENT = Subject("what a call of exporter.instrument costs beside prometheus-client's own", _add_options, measure)
