"""A market on a real broker whose prices a test sets, and sidecars that evaluate portfolios at them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import requests
import yaml

from exporter.runtime.clock import now_ms
from tests.support.cluster import Record
from tests.support.sidecar import ANSWER_SECONDS, Deployment, Sidecar
from tests.support.waiting import eventually

SECONDS = 40.0
SETTINGS: dict[str, object] = {
    "web__enable_lifecycle": True,
    "feeds__thresholds": [{"silent": "10m", "frozen": "10m"}],
    "risk__enabled": True,
    "risk__interval": "1s",
    "risk__report_interval": "1s",
    "risk__price_age": "10m",
    "risk__plausibility": {"confirmations": 1},
    "risk__limits": [{"daily_loss": 150, "hysteresis": 0.1}],
    "risk__safety": {"drawdown": 0.15, "calm": "0s"},
}
# Worth 1000: 600 in A, 500 in B, and debts of 100.
PORTFOLIOS = {"main": {"positions": {"A": 6, "B": 50}, "cash": -100}, "other": {"positions": {"A": 1}, "cash": 1000}}


class RiskyMarket:
    """Portfolios, a market for their symbols, and sidecars that read it."""

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        self.deployment = deployment
        self.topic = deployment.cluster.create_topic(f"risk-{deployment.group}", 2, cleanup_policy="compact")
        self.file = directory / "positions.yml"
        self.sidecars: list[Sidecar] = []
        self.written = 0
        self.hold(PORTFOLIOS)

    def hold(self, portfolios: dict[str, Any]) -> None:
        self.file.write_text(yaml.safe_dump({"portfolios": portfolios}))

    def sidecar(self, instance: str = "one", **more: object) -> Sidecar:
        file = str(self.file)
        settings = {**SETTINGS, "risk__topic": self.topic, "risk__positions__file": file, **more}
        self.sidecars.append(self.deployment.sidecar(instance, **settings).start())
        return self.sidecars[-1]

    def kill_all(self) -> None:
        """Kill all sidecars with SIGKILL."""
        for sidecar in self.sidecars:
            sidecar.kill()

    def write(self, level: float, partition: int = 0) -> None:
        """A batch with all prices at a level of 100 and 10."""
        self.written += 1
        stamp = now_ms()
        rows = [
            {"target_currency": symbol, "timestamp": stamp, "last": price * level}
            for symbol, price in (("A", 100.0), ("B", 10.0))
        ]
        batch = {"region": "korea", "exchange": "upbit", "request_type": "ticker", "timestamp_ms": stamp, "data": rows}
        self.deployment.cluster.produce(
            self.deployment.topic, [Record(json.dumps(batch).encode(), partition=partition)]
        )

    def is_committed(self) -> bool:
        """Whether the positions of all batches are committed."""
        return sum(self.deployment.committed().values()) == self.written

    def reach(self, sidecar: Sidecar, level: float) -> dict[str, Any]:
        """Write prices at a level until they are confirmed, and return the portfolio that was evaluated at them."""

        def written() -> dict[str, Any]:
            self.write(level)
            return valued(sidecar, 1100 * level - 100)

        return eventually(written, SECONDS, f"not evaluated at {level}")

    def events(self) -> list[dict[str, Any]]:
        """The committed events of the portfolio main, in order, with their `ce_id`."""
        records = self.deployment.cluster.read_all(self.topic)
        return [
            json.loads(each.value) | {"ce_id": each.headers["ce_id"].decode()}
            for each in records
            if each.key == b"main"
        ]

    def counted(self) -> Counter[str]:
        """How many events there are of each type, without reports."""
        return Counter(each["event_type"] for each in self.events() if each["event_type"] != "risk_report")


def portfolio(sidecar: Sidecar) -> dict[str, Any]:
    """What the sidecar shows of the portfolio main; empty before it is evaluated."""
    return next((row for row in portfolios(sidecar) if row["portfolio"] == "main"), {})


def portfolios(sidecar: Sidecar) -> list[dict[str, Any]]:
    """What the sidecar shows of all portfolios."""
    rows: list[dict[str, Any]] = sidecar.get("/api/v1/risk").json()["data"]["portfolios"]
    return rows


def unconfirmed(sidecar: Sidecar) -> list[str]:
    """The symbols whose last price does not count yet."""
    symbols = sidecar.get("/api/v1/risk").json()["data"]["symbols"]
    return [each["symbol"] for each in symbols if each["unconfirmed"]]


def is_stopped(sidecar: Sidecar) -> bool:
    """Whether it shows that the stop of the portfolio is in force."""
    return bool(portfolio(sidecar).get("emergency_stop", {}).get("is_in_force"))


def valued(sidecar: Sidecar, value: float) -> dict[str, Any]:
    """The portfolio if it has this value, and nothing else otherwise."""
    found = portfolio(sidecar)
    known = found.get("figures", {}).get("value", {}).get("value")
    return found if known is not None and abs(known - value) < 1e-6 else {}


def lift(sidecar: Sidecar) -> requests.Response:
    """The answer to a request to lift the stop."""
    url = f"http://127.0.0.1:{sidecar.port}/-/risk/lift?portfolio=main"
    return requests.post(url, timeout=ANSWER_SECONDS)
