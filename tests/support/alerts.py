"""The rules that are shipped, on a real Prometheus: which alerts fire, and which have fired."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml

from tests.support.prometheus import PrometheusServer, scrape_config
from tests.support.sidecar import Sidecar
from tests.support.waiting import eventually

RULE_FILES = sorted((Path(__file__).parents[2] / "grafana" / "rules").glob("*.yml"))
INTERVAL = "1s"
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(r"(\d+)(ms|[smhdw])")
_PLACE = ("region", "exchange", "request_type", "topic", "instance")


class Alert(NamedTuple):
    """An alert and what it is about: the labels of a feed, a topic or an instance, joined by colons."""

    name: str
    about: str


class Alerts:
    """A Prometheus that scrapes the sidecars every second, as pods, and judges them by the rules as often."""

    def __init__(self, directory: Path, sidecars: Iterable[Sidecar], rule_files: Iterable[Path] = RULE_FILES) -> None:
        targets = [f"127.0.0.1:{sidecar.port}" for sidecar in sidecars]
        self.prometheus = PrometheusServer(directory, scrape_config(targets, list(rule_files), INTERVAL, in_pods=True))

    def __enter__(self) -> Self:
        self.prometheus.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.prometheus.kill()

    def firing(self) -> set[Alert]:
        """The alerts that fire now."""
        alerts = self.prometheus.get("alerts")["alerts"]
        return {_alert(alert["labels"]) for alert in alerts if alert["state"] == "firing"}

    def fired(self) -> set[Alert]:
        """The alerts that have fired at any time since the start, between two looks too."""
        found = self.prometheus.query('last_over_time(ALERTS{alertstate="firing"}[1h])')
        return {_alert(sample.labels) for sample in found}

    def eventually_are(self, wanted: set[Alert], seconds: float, besides: str = "") -> None:
        """Wait until exactly these alerts fire; one named `besides` may or may not."""

        def are() -> bool:
            said = {alert for alert in self.firing() if alert.name != besides}
            assert said == wanted, f"missing {wanted - said}, too many {said - wanted}"
            return True

        eventually(are, seconds, "not these alerts")


def _alert(labels: dict[str, str]) -> Alert:
    return Alert(labels["alertname"], ":".join(labels[name] for name in _PLACE if name in labels))


def hastened(directory: Path, factor: int) -> list[Path]:
    """Write the shipped rules with each duration divided by `factor`, so that minutes become seconds.

    Divided are how long alerts wait and groups rest, and ranges and steps in expressions; thresholds stay.
    """
    directory.mkdir(parents=True, exist_ok=True)
    return [_hastened(path, directory / path.name, factor) for path in RULE_FILES]


def _hastened(source: Path, target: Path, factor: int) -> Path:
    rules = yaml.safe_load(source.read_text())
    for group in rules["groups"]:
        for timed in (group, *group["rules"]):
            timed.update({key: _divided(timed[key], factor) for key in timed.keys() & _TIMES})
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[[^]]+\]", lambda found: _divided(found[0], factor), rule["expr"])
    target.write_text(yaml.safe_dump(rules))
    return target


_TIMES = {"for", "keep_firing_for", "interval"}


def _divided(text: str, factor: int) -> str:
    def divided(found: re.Match[str]) -> str:
        return f"{int(found[1]) * _UNITS_MS[found[2]] // factor}ms"

    return _DURATION.sub(divided, text)


def all_rules(files: Iterable[Path]) -> list[dict[str, Any]]:
    """The rules of the files, in their order."""
    return [rule for path in files for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
