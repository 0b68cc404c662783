"""The dashboard of risk and its alerts on a real Prometheus, while a real market moves, crashes and recovers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

from exporter.risk.models import CONFIDENCE, UNCERTAINTY
from tests.support.alerts import Alert, Alerts
from tests.support.kafka import Broker
from tests.support.panels import panel_queries
from tests.support.prometheus import PrometheusServer
from tests.support.risky_market import SECONDS, RiskyMarket, lift
from tests.support.sidecar import Deployment, Sidecar
from tests.support.waiting import eventually

GRAFANA = Path(__file__).parents[1] / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "risk.json").read_text())
IN_POD = {"cluster": "", "namespace": "trading"}
QUERIES = [
    pytest.param(query.expr, id=f"{query.panel}-{number}")
    for number, query in enumerate(panel_queries(DASHBOARD, "1m", IN_POD))
]
STOPPED = {"MarketdataRiskEmergencyStop", "MarketdataRiskLimitBroken", "MarketdataRiskSafetyTripped"}


class Run(NamedTuple):
    """A market, the sidecar that reads it, and a Prometheus with the rules that scrapes it."""

    market: RiskyMarket
    sidecar: Sidecar
    alerts: Alerts

    @property
    def prometheus(self) -> PrometheusServer:
        """The Prometheus."""
        return self.alerts.prometheus

    def move_until(self, expr: str) -> None:
        """Let prices move until a query has an answer: figures of the history need 20 seconds of them."""
        levels = cycle([1.0, 1.001, 0.999, 1.002])

        def moved() -> bool:
            self.market.write(next(levels))
            return bool(self.prometheus.query(expr))

        eventually(moved, 2 * SECONDS, f"nothing for {expr}")


@pytest.fixture(scope="module")
def run(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    directory = tmp_path_factory.mktemp("risk")
    with ExitStack() as parts:
        deployment = parts.enter_context(Deployment(broker, directory)).create_outputs()
        market = RiskyMarket(deployment, directory)
        sidecar = market.sidecar(web__push__enabled=True)
        registry = CollectorRegistry()
        for name, value in ((UNCERTAINTY, 0.2), (CONFIDENCE, 0.9)):
            Gauge(name, "Of a model.", registry=registry).set(value)
        push_to_gateway(f"127.0.0.1:{sidecar.port}", "signals", registry)
        rules = [GRAFANA / "rules" / "risk.yml"]
        alerts = parts.enter_context(Alerts(directory / "prometheus", [sidecar], rules))
        found = Run(market, sidecar, alerts)
        found.move_until("marketdata_risk_mean_correlation_ratio")
        yield found


@pytest.mark.parametrize("expr", QUERIES)
def test_every_panel_shows_data(run: Run, expr: str) -> None:
    """The market has moved for so long that all figures but those of 99 % are known."""
    eventually(lambda: run.prometheus.query(expr), SECONDS, f"nothing for {expr}")


def test_alerts_fire_with_a_crash_and_clear_with_the_recovery(run: Run) -> None:
    assert run.alerts.firing() == set()
    run.market.reach(run.sidecar, 0.8)
    eventually(lambda: {each.name for each in run.alerts.firing()} == STOPPED, SECONDS, "not these alerts")
    run.market.reach(run.sidecar, 1.0)
    run.alerts.eventually_are({Alert("MarketdataRiskEmergencyStop", "")}, SECONDS)
    assert lift(run.sidecar).status_code == 200
    run.alerts.eventually_are(set(), SECONDS)
