"""The rules for Prometheus, judged by promtool, and an example for Alertmanager; tests/rules says when alerts fire."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.model import FeedKey
from tests.support.documents import page
from tests.support.families import exported, known, labels_of_caches, of_programs
from tests.support.prometheus import amtool, promtool
from tests.support.promql import bare_counters, groupings, matched_labels, unknown_names
from tests.support.targets import under_kubernetes

ROOT = Path(__file__).parents[1]
RULE_FILES = sorted((ROOT / "grafana" / "rules").glob("*.yml"))
ALERTMANAGER = ROOT / "grafana" / "alertmanager.yml"
TEST_FILES = sorted((ROOT / "tests" / "rules").glob("*.yml"))
PODS = ROOT / "tests" / "rules" / "kubernetes.yml"  # its labels are what it is about
# What names a deployment: replicas of one are brought together, those of two never.
DEPLOYMENT = {"cluster", "namespace", "job"}
REPLICA = {"instance", "pod", "container"}
LEVELS = {
    "feed": set(FeedKey._fields),
    "feed_kind": {*FeedKey._fields, "kind"},
    "topic": {"region", "request_type"},
    "job": set[str](),
}
Case = dict[str, Any]


def _rules() -> list[dict[str, Any]]:
    groups = [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


@cache
def _cases(path: Path) -> list[Case]:
    """Return the cases of a file. Their values are text, though YAML takes `0x60` for a number."""
    cases: list[Case] = yaml.safe_load(re.sub(r"values: (.+)", r"values: '\1'", path.read_text()))["tests"]
    return cases


@cache
def _alert_tests() -> list[dict[str, Any]]:
    tests = [test for path in TEST_FILES for test in _cases(path)]
    return [expected for test in tests for expected in test.get("alert_rule_test", ())]


def _alertmanager() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(ALERTMANAGER.read_text())
    return content


INHIBITIONS = _alertmanager()["inhibit_rules"]
ALERTS = [pytest.param(rule, id=rule["alert"]) for rule in _rules() if "alert" in rule]
RECORDS = [pytest.param(rule, id=rule["record"]) for rule in _rules() if "record" in rule]
RECORDED = {rule["record"] for rule in _rules() if "record" in rule}


def test_promtool_finds_no_fault_with_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", *RULE_FILES)


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.stem))
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


@pytest.mark.parametrize("path", [path for path in TEST_FILES if path != PODS], ids=lambda path: path.stem)
def test_alerts_are_the_same_under_kubernetes(path: Path, tmp_path: Path) -> None:
    """Each of several deployments has those of all cases, whatever other labels its targets have."""
    content = yaml.safe_load(path.read_text())
    rule_files = [str(path.parent / name) for name in content["rule_files"]]
    tests = [under_kubernetes(case) for case in _cases(path)]
    file = tmp_path / path.name
    file.write_text(yaml.safe_dump(content | {"rule_files": rule_files, "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", file)


@pytest.mark.parametrize("rule", ALERTS)
def test_an_alert_is_shown_both_firing_and_silent(rule: dict[str, Any]) -> None:
    shown = {bool(expected.get("exp_alerts")) for expected in _alert_tests() if expected["alertname"] == rule["alert"]}
    assert shown == {True, False}


@pytest.mark.parametrize("rule", ALERTS)
def test_an_alert_tells_how_bad_what_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Marketdata")
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert re.fullmatch(r"[A-Z][^{}]+\.", rule["annotations"]["summary"]), "a sentence that is the same for all"
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


@pytest.mark.parametrize("rule", ALERTS)
def test_an_alert_has_its_part_of_the_runbook(rule: dict[str, Any]) -> None:
    assert re.search(rf"^#+ {rule['alert']}$", page("runbook"), re.MULTILINE)


@pytest.mark.parametrize("rule", ALERTS + RECORDS)
def test_a_rule_names_only_families_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    assert unknown_names(rule["expr"]) == set()
    assert bare_counters(rule["expr"]) == []
    assert set(re.findall(r"\w+:\w+:\w+", rule["expr"])) <= RECORDED


@pytest.mark.parametrize("rule", ALERTS + RECORDS)
def test_a_rule_keeps_deployments_apart_and_brings_their_replicas_together(rule: dict[str, Any]) -> None:
    """It aggregates and matches by labels of metrics and a deployment's, and names a replica or does not."""
    own = frozenset().union(*exported().values(), *of_programs().values(), *labels_of_caches().values())
    for word, labels in groupings(rule["expr"]):
        if word == "ignoring":
            assert labels <= own
        elif labels or word == "by":  # nothing at all is matched with nothing
            assert word in {"by", "on"}
            assert DEPLOYMENT <= labels <= DEPLOYMENT | REPLICA | own


def test_labels_that_rules_rely_on_are_looked_for_where_prometheus_renames_them() -> None:
    """Those of sidecars: programs are scraped with honor_labels, or have no label of a target."""
    rules = {rule.get("alert", rule.get("record")): rule["expr"] for rule in _rules()}
    rules = {name: expr for name, expr in rules.items() if not str(name).startswith("MarketdataProgram")}
    looked_for = {label.removeprefix("exported_") for label in matched_labels(rules.pop("MarketdataLabelsExported"))}
    used = set[str]()
    for expr in rules.values():
        used |= matched_labels(expr).union(*(labels for _, labels in groupings(expr)))
    own = frozenset().union(*exported().values())
    assert looked_for >= used & own
    assert looked_for <= own


@pytest.mark.parametrize("rule", RECORDS)
def test_a_recorded_name_tells_the_level_the_metric_and_the_operation(rule: dict[str, Any]) -> None:
    level, metric, operation = rule["record"].split(":")
    assert groupings(rule["expr"])[0].labels == DEPLOYMENT | LEVELS[level]
    assert {metric, f"{metric}_total"} & known().keys()
    assert re.fullmatch(r"rate5m|min|max|bad_ratio", operation)


def test_alertmanager_takes_the_example() -> None:
    assert "SUCCESS" in amtool("check-config", ALERTMANAGER)


@pytest.mark.parametrize("rule", ALERTS)
def test_an_alert_reaches_who_should_know(rule: dict[str, Any]) -> None:
    """A page for what is critical; what is not urgent at all is a ticket."""
    name, severity = rule["alert"], rule["labels"]["severity"]
    wanted = "pager" if severity == "critical" else "tickets" if name.endswith("Slowly") else "chat"
    labels = [f"alertname={name}", f"severity={severity}"]
    assert amtool("config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels).splitlines()[0] == wanted


def test_inhibitions_name_alerts_that_there_are() -> None:
    names = [rule["alert"] for rule in _rules() if "alert" in rule]
    for inhibition in INHIBITIONS:
        for matcher in (*inhibition["source_matchers"], *inhibition["target_matchers"]):
            pattern = re.split(r"\s*!?=~?\s*", matcher, maxsplit=1)[1].strip('"')
            assert all(any(re.fullmatch(part, name) for name in names) for part in pattern.split("|"))


def test_inhibitions_and_groups_go_by_labels_that_alerts_have_under_kubernetes() -> None:
    """A label that either alert lacks would be no match, one that an inhibition leaves out a match with any."""
    labels = {rule["alert"]: _labels_under_kubernetes(rule["alert"]) for rule in _rules() if "alert" in rule}
    assert all(set(_alertmanager()["route"]["group_by"]) - {"alertname"} <= found for found in labels.values())
    for inhibition in INHIBITIONS:
        assert set(inhibition["equal"]) >= DEPLOYMENT
        for matchers in (inhibition["source_matchers"], inhibition["target_matchers"]):
            assert all(set(inhibition["equal"]) <= labels[name] for name in labels if _match(matchers, name))


def _labels_under_kubernetes(alert: str) -> set[str]:
    cases = [under_kubernetes(case) for path in TEST_FILES if path != PODS for case in _cases(path)]
    expected = [test for case in cases for test in case.get("alert_rule_test", ()) if test["alertname"] == alert]
    return {label for test in expected for each in test.get("exp_alerts", ()) for label in each["exp_labels"]}


def _match(matchers: list[str], name: str) -> bool:
    """Return whether all matchers, which are about alertname, take the name."""
    parts = [re.fullmatch(r'alertname (=~|!=|=) "?([^"]+)"?', matcher) for matcher in matchers]
    return all(part and (re.fullmatch(part[2], name) is not None) != (part[1] == "!=") for part in parts)
