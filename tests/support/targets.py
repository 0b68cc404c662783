"""The cases of tests/rules again, with the labels that targets have under Kubernetes, in several deployments. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.families import exported

Labels = Mapping[str, str]
DEPLOYMENTS: tuple[Labels, ...] = (
    {"cluster": "eu-1", "namespace": "trading"},
    {"cluster": "eu-2", "namespace": "trading"},
    {"cluster": "eu-1", "namespace": "test"},
)
# Alerts about one series keep all of its labels, so that a route may go by any of them.
OF_ONE_SERIES = {
    "MarketdataCacheDown",
    "MarketdataExporterDown",
    "MarketdataExporterNotReady",
    "MarketdataConfigReloadFailed",
    "MarketdataConsumerLagGrowing",
    "MarketdataEventBacklogNearLimit",
}
_SERIES = re.compile(r"([\w:]+)\{(.*)\}")


def under_kubernetes(case: dict[str, Any]) -> dict[str, Any]:
    """Return the case as it is in each of the deployments, with each instance in a pod.

    Each target has labels of all names that the exporter uses; where a series has none of its own, they stay.
    """
    cases = [_deployed(case, deployment) for deployment in DEPLOYMENTS]
    return {key: _joined([each[key] for each in cases]) for key in case}


def _deployed(case: dict[str, Any], deployment: Labels) -> dict[str, Any]:
    def series(labels: Labels) -> Labels:
        return {**_target(labels), **deployment, **labels}

    def expected(alert: str, labels: Labels) -> Labels:
        if "job" not in labels:  # nothing is there at all
            return labels
        if alert in OF_ONE_SERIES:
            return series(labels)
        pod = {"pod": labels["instance"]} if "instance" in labels else {}
        return {**labels, **deployment, **pod}

    return _changed(case, series, expected)


def _target(labels: Labels) -> dict[str, str]:
    """Return the labels of a target beside those of its deployment; some have the names of the exporter's."""
    own = frozenset().union(*exported().values()) - {"le"}
    instance = labels["instance"]
    place = {"pod": instance, "container": "sidecar", "endpoint": "metrics", "node": f"node-of-{instance}"}
    return dict.fromkeys(own, "of-the-target") | place


def _changed(
    case: dict[str, Any], series: Callable[[Labels], Labels], expected: Callable[[str, Labels], Labels]
) -> dict[str, Any]:
    """Return the case with the labels of its series and of what is expected changed."""
    case = copy.deepcopy(case)
    for given in case.get("input_series", ()):
        given["series"] = _renamed(given["series"], series)
    for test in case.get("alert_rule_test", ()):
        for alert in test.get("exp_alerts", ()):
            alert["exp_labels"] = dict(expected(test["alertname"], alert["exp_labels"]))
    for test in case.get("promql_expr_test", ()):
        for sample in test["exp_samples"]:
            sample["labels"] = _renamed(sample["labels"], lambda labels: expected("", labels))
    return case


def _renamed(series: str, change: Callable[[Labels], Labels]) -> str:
    found = _SERIES.fullmatch(series)
    assert found, series
    labels = change(dict(re.findall(r'(\w+)="([^"]*)"', found[2])))
    inner = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{found[1]}{{{inner}}}"


def _joined(values: list[Any]) -> Any:
    """Return the lists of several copies of a case as one; what is expected at one time is expected of all."""
    if not isinstance(values[0], list):
        return values[0]
    if not values[0] or "eval_time" not in values[0][0]:
        return [each for value in values for each in value]
    return [_expecting_all(tests) for tests in zip(*values, strict=True)]


def _expecting_all(tests: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    found = dict(tests[0])
    for key in found.keys() & {"exp_alerts", "exp_samples"}:
        wanted = [each for test in tests for each in test[key]]
        found[key] = [each for at, each in enumerate(wanted) if each not in wanted[:at]]
    return found
