"""The rules for Prometheus, judged by promtool, and an example for Alertmanager; tests/rules says when alerts fire."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.families import known
from tests.support.prometheus import amtool, promtool
from tests.support.promql import bare_counters, unknown_names

ROOT = Path(__file__).parents[1]
RULE_FILES = sorted((ROOT / "grafana" / "rules").glob("*.yml"))
ALERTMANAGER = ROOT / "grafana" / "alertmanager.yml"
TEST_FILES = sorted((ROOT / "tests" / "rules").glob("*.yml"))


def _rules() -> list[dict[str, Any]]:
    groups = [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def _alert_tests() -> list[dict[str, Any]]:
    tests = [test for path in TEST_FILES for test in yaml.safe_load(path.read_text())["tests"]]
    return [expected for test in tests for expected in test.get("alert_rule_test", ())]


ALERTS = [pytest.param(rule, id=rule["alert"]) for rule in _rules() if "alert" in rule]
RECORDS = [pytest.param(rule, id=rule["record"]) for rule in _rules() if "record" in rule]
RECORDED = {rule["record"] for rule in _rules() if "record" in rule}


def test_promtool_finds_no_fault_with_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", *RULE_FILES)


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.stem))
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


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
    assert rule["annotations"]["runbook_url"] == f"README.md#{rule['alert'].lower()}"


@pytest.mark.parametrize("rule", ALERTS)
def test_an_alert_has_its_part_of_the_runbook(rule: dict[str, Any]) -> None:
    assert re.search(rf"^#+ {rule['alert']}$", (ROOT / "README.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("rule", ALERTS + RECORDS)
def test_a_rule_names_only_families_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    assert unknown_names(rule["expr"]) == set()
    assert bare_counters(rule["expr"]) == []
    assert set(re.findall(r"\w+:\w+:\w+", rule["expr"])) <= RECORDED


@pytest.mark.parametrize("rule", RECORDS)
def test_a_recorded_name_tells_the_level_the_metric_and_the_operation(rule: dict[str, Any]) -> None:
    level, metric, operation = rule["record"].split(":")
    assert level in {"feed", "topic", "job"}
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


def test_inhibitions_name_alerts_that_there_are_and_labels_that_these_have() -> None:
    names = [rule["alert"] for rule in _rules() if "alert" in rule]
    for inhibition in yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]:
        for matcher in (*inhibition["source_matchers"], *inhibition["target_matchers"]):
            pattern = re.split(r"\s*!?=~?\s*", matcher, maxsplit=1)[1].strip('"')
            assert all(any(re.fullmatch(part, name) for name in names) for part in pattern.split("|"))
        assert set(inhibition["equal"]) <= {"job", "instance", "region", "exchange", "request_type"}
