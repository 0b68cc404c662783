"""What programs push to a real sidecar, as a real Prometheus sees it come and go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, push_to_gateway

from tests.support.process import free_port
from tests.support.prometheus import PrometheusServer, configuration
from tests.support.sidecar import Sidecar
from tests.support.waiting import eventually

TTL_SECONDS = 2


class Run(NamedTuple):
    """A sidecar without a broker that keeps pushes for two seconds, and a Prometheus that scrapes it."""

    sidecar: Sidecar
    prometheus: PrometheusServer

    def push(self) -> None:
        push_to_gateway(f"127.0.0.1:{self.sidecar.port}", "signals", registry(), grouping_key={"zone": "a/b"})

    def values(self, promql: str) -> list[tuple[dict[str, str], float]]:
        return [(each.labels, each.value) for each in self.prometheus.query(promql)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    directory: Path = tmp_path_factory.mktemp("pushes")
    settings = {
        "kafka.bootstrap_servers": f"127.0.0.1:{free_port()}",
        "web.push.enabled": True,
        "web.push.ttl": f"{TTL_SECONDS}s",
    }
    sidecar = Sidecar(directory / "sidecar", settings).start()
    target = {"static_configs": [{"targets": [f"127.0.0.1:{sidecar.port}"]}]}
    jobs = [{"job_name": name, "honor_labels": name == "honored", **target} for name in ("honored", "other")]
    prometheus = PrometheusServer(directory / "prometheus", configuration(jobs, [], "200ms")).start()
    yield Run(sidecar, prometheus)
    prometheus.kill()
    sidecar.stop()


def registry() -> CollectorRegistry:
    """What a program pushes."""
    found = CollectorRegistry()
    Counter("orders", "Orders.", ["side"], registry=found).labels("buy").inc(3)
    Histogram("latency_seconds", "Latency.", registry=found).observe(0.2)
    return found


def test_prometheus_sees_pushes_under_their_own_labels_until_they_expire(run: Run) -> None:
    honored = 'orders_total{job="signals",zone="a/b"}'

    def seen() -> bool:
        run.push()
        return bool(run.values(honored)) and bool(run.values('orders_total{exported_job="signals"}'))

    eventually(seen, 30, "Prometheus saw no push")
    ((labels, value),) = run.values(honored)
    assert value == 3
    # The empty instance keeps Prometheus from adding that of the sidecar.
    assert labels == {"__name__": "orders_total", "job": "signals", "zone": "a/b", "side": "buy"}
    ((labels, value),) = run.values('latency_seconds_bucket{job="signals",le="0.25"}')
    assert value == 1
    assert len(run.values('push_time_seconds{job="signals"}')) == 1
    assert run.values('up{job="honored"}')[0][1] == 1
    eventually(lambda: not run.values(honored), 30, "Prometheus still saw the group after it expired")
    # A page is rendered in pieces, and the group may expire between two of them.
    eventually(lambda: not run.values('push_time_seconds{job="signals"}'), 30)
    eventually(lambda: run.values("marketdata_exporter_push_groups")[0][1] == 0, 30)
    assert [value for _, value in run.values('up{job="honored"}')] == [1]
