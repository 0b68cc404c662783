"""The load test's own `/metrics`."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from exporter.loadtest.results import Distribution
from exporter.loadtest.target import Counts, Target, TargetError
from exporter.metrics.process import OwnProcess

_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_OWN = {
    "kafka": ("loadtest_kafka_messages_total", "Kafka messages that were acknowledged or failed."),
    "redis": ("loadtest_store_operations_total", "Operations of the store on Redis that were answered or failed."),
}


class _Counts(Collector):
    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        counts = {target.name: target.counts() for target in self._targets}
        requests = CounterMetricFamily(
            "loadtest_requests_total", "Requests that were answered or failed.", labels=["target", "result"]
        )
        for name, found in counts.items():
            for result, number in _results(found):
                requests.add_metric([name, result], number)
        yield requests
        for name, (family, text) in _OWN.items():
            if name in counts:
                own = CounterMetricFamily(family, text, labels=["result"])
                for result, number in _results(counts[name]):
                    own.add_metric([result], number)
                yield own
        yield _durations(counts)


def _results(counts: Counts) -> Iterable[tuple[str, int]]:
    return ("answered", counts.answered), ("failed", counts.failed)


def _durations(counts: dict[str, Counts]) -> Metric:
    family = HistogramMetricFamily(
        "loadtest_request_duration_seconds",
        "Time from when a request was due to its answer.",
        labels=["target"],
    )
    for name, found in counts.items():
        if found.latency is not None:
            family.add_metric([name], _buckets(found.latency), found.latency.mean * found.latency.count / 1000)
    return family


def _buckets(latency: Distribution) -> list[tuple[str, float]]:
    """Return cumulated counts; a bucket counts where its upper end is, so that bounds are exact to 1 %."""
    below = [sum(each.count for each in latency.buckets if each.upper_ms <= 1000 * bound) for bound in _BOUNDS]
    return [*zip(map(str, _BOUNDS), map(float, below), strict=True), ("+Inf", float(latency.count))]


class OwnMetrics:
    """A server of the metrics of a run, at a port unless that is taken, else at any."""

    def __init__(self, targets: Sequence[Target], host: str, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(_Counts(targets))
        OwnProcess(registry=registry)
        self._server, self._thread = _serve(registry, host, port)
        self.url = f"http://{host}:{self._server.server_port}/metrics"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _serve(registry: CollectorRegistry, host: str, port: int) -> Any:
    # The server of the library sets SO_REUSEADDR only, but another may listen on all interfaces.
    with socket.socket() as probe:
        is_taken = probe.connect_ex((host, port)) == 0 if port else False
    for each in (0 if is_taken else port, 0):
        with suppress(OSError):
            return start_http_server(each, host, registry)
    raise TargetError(f"the load test's own metrics cannot be served at {host}: see --metrics-address")
