"""The dashboards and what provisions them. An end-to-end test asks a real Prometheus for each panel."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.feeds.states import FeedState
from grafana import generate
from tests.support.alerts import all_rules
from tests.support.families import exported, of_caches
from tests.support.panels import panel_queries, panels, substituted
from tests.support.promql import bare_counters, families_in, selectors_without, unknown_names

ROOT = Path(__file__).parents[1]
PROVISIONING = ROOT / "grafana" / "provisioning"
DASHBOARDS: dict[str, Any] = {
    path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
}
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['title']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in panels(dashboard)
]
QUERIES = [
    pytest.param(query.expr, id=f"{name}-{query.panel}-{number}")
    for name, dashboard in DASHBOARDS.items()
    for number, query in enumerate(panel_queries(dashboard))
]
VARIABLES = [
    pytest.param(variable, id=f"{name}-{variable['name']}")
    for name, dashboard in DASHBOARDS.items()
    for variable in dashboard["templating"]["list"]
    if variable["type"] == "query"
]
ANNOTATIONS = [
    pytest.param(annotation, id=f"{name}-{annotation['name']}")
    for name, dashboard in DASHBOARDS.items()
    for annotation in dashboard["annotations"]["list"]
]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
ABOUT_OTHERS = ("MarketdataProgram", "MarketdataCache")
ABOUT_ANY_FAMILY = {"MarketdataLabelsExported"}
UNITS = {"short", "s", "bytes", "percentunit", "cps", "mps", "eps", "recps", "ops"}
KINDS = {"timeseries", "stat", "heatmap", "table", "state-timeline"}


def provisioned(path: str) -> dict[str, Any]:
    """A file of Grafana's provisioning."""
    content: dict[str, Any] = yaml.safe_load((PROVISIONING / path).read_text())
    return content


each_dashboard = pytest.mark.parametrize("name", DASHBOARDS)


@pytest.mark.parametrize("source", generate.SOURCES, ids=lambda source: str(source.stem))
def test_a_committed_dashboard_is_what_the_generator_gives(source: Path) -> None:
    assert generate.destination(source).read_text() == generate.generated(source), "run: python grafana/generate.py"


def test_the_list_of_what_needs_each_family_is_what_the_generator_gives() -> None:
    assert generate.USES.read_text() == generate.uses(), "run: python grafana/generate.py"


def test_what_needs_a_family_is_known_of_each() -> None:
    listed = json.loads(generate.USES.read_text())
    assert listed.keys() == exported().keys()
    for name, use in listed.items():
        assert use["is_histogram"] is ("le" in exported()[name])
        assert use["panels"]
    rules = all_rules(sorted(generate.RULES.glob("*.yml")))
    alerts = {alert for use in listed.values() for alert in use["alerts"]}
    all_alerts = {rule["alert"] for rule in rules if "alert" in rule}
    assert alerts == {each for each in all_alerts if not each.startswith(ABOUT_OTHERS)} - ABOUT_ANY_FAMILY


def test_every_committed_dashboard_has_a_source() -> None:
    assert set(DASHBOARDS) == {source.stem for source in generate.SOURCES}


@each_dashboard
def test_a_dashboard_can_be_provisioned_as_it_is(name: str) -> None:
    """Classic model, a fixed uid, read-only, and no inputs that a person would have to fill in."""
    dashboard = DASHBOARDS[name]
    assert dashboard["schemaVersion"] == 42
    assert dashboard["uid"] == f"marketdata-{name}"
    assert dashboard["description"].endswith(".")
    assert dashboard["editable"] is False
    assert not {"__inputs", "__requires", "id"} & dashboard.keys()


@each_dashboard
def test_the_data_source_is_chosen_on_the_dashboard(name: str) -> None:
    source = DASHBOARDS[name]["templating"]["list"][0]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")


@each_dashboard
def test_a_dashboard_has_the_variables_that_its_queries_name_after_those_that_they_need(name: str) -> None:
    dashboard = DASHBOARDS[name]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    queries = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    named = set(re.findall(r"\$(\w+)", " ".join(queries))) - {"__rate_interval"}
    assert {"datasource"} | named == set(variables)
    before = set[str]()
    for variable in list(variables.values())[1:]:
        assert set(re.findall(r"\$(\w+)", variable["definition"])) <= before
        before.add(variable["name"])


@each_dashboard
def test_a_dashboard_leads_to_the_others_with_what_is_chosen(name: str) -> None:
    (link,) = DASHBOARDS[name]["links"]
    assert set(link["tags"]) <= set(DASHBOARDS[name]["tags"])
    assert link["includeVars"]
    assert link["keepTime"]


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_offers_what_there_is_and_all_of_it(variable: dict[str, Any]) -> None:
    assert variable["multi"]
    assert variable["refresh"] == 2
    assert variable["datasource"] == SOURCE
    found = re.fullmatch(rf"label_values\((.+), {variable['name']}\)", variable["query"]["query"])
    assert found
    assert unknown_names(substituted(found[1])) == set()
    assert unknown_names(f"sum by ({variable['name']}) ({substituted(found[1])})") == set()


@pytest.mark.parametrize("variable", VARIABLES)
def test_all_is_chosen_unless_that_would_mix_deployments(variable: dict[str, Any]) -> None:
    """Of these the first is chosen, and as many others as are asked for."""
    if variable["name"] in generate.DEPLOYMENT:
        assert not variable["includeAll"]
        assert variable["current"] == {}
    else:
        assert variable["includeAll"]
        assert variable["allValue"] == ".+" or variable["name"] == "instance"
        assert variable["current"]["value"] == ["$__all"]


def test_all_programs_are_shown_with_and_without_an_instance() -> None:
    (instance,) = (each for each in DASHBOARDS["programs"]["templating"]["list"] if each["name"] == "instance")
    assert instance["allValue"] == ".*"


def test_rules_and_dashboards_mean_the_same_by_a_deployment() -> None:
    for path in (ROOT / "grafana" / "rules").glob("*.yml"):
        for labels in re.findall(r"\b(?:by|on) \(([^)]+)\)", path.read_text()):
            assert set(generate.DEPLOYMENT) <= set(labels.split(", "))


def test_the_states_on_panels_are_those_of_feeds() -> None:
    assert set(generate.STATES) == set(FeedState)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_and_where_it_is_from(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["type"] in KINDS
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["targets"]
    assert {json.dumps(part["datasource"]) for part in (panel, *panel["targets"])} == {json.dumps(SOURCE)}


@each_dashboard
def test_no_two_panels_have_one_title_or_number(name: str) -> None:
    for key in ("title", "id"):
        assert max(Counter(panel[key] for panel in DASHBOARDS[name]["panels"]).values()) == 1


@each_dashboard
def test_panels_stay_within_the_page_and_off_each_other(name: str) -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for place in (panel["gridPos"] for panel in DASHBOARDS[name]["panels"]):
        columns = range(place["x"], place["x"] + place["w"])
        taken.update((column, line) for column in columns for line in range(place["y"], place["y"] + place["h"]))
    assert max(taken.values()) == 1
    assert {column for column, _ in taken} == set(range(24))


def test_every_family_is_in_some_panel() -> None:
    shown = {
        family
        for dashboard in DASHBOARDS.values()
        for query in panel_queries(dashboard)
        for family in families_in(query.expr)
    }
    assert (exported() | of_caches()).keys() - shown == set()


@pytest.mark.parametrize("panel", PANELS)
def test_a_legend_names_labels_that_the_expression_keeps(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        kept = {label for labels in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in labels.split(", ")}
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept


@pytest.mark.parametrize("panel", PANELS)
def test_a_range_is_as_long_as_the_graph_needs(panel: dict[str, Any]) -> None:
    """A fixed one is empty when scrapes are further apart, and misses what lies between two points of a wide graph."""
    for target in panel["targets"]:
        assert set(re.findall(r"\[([^\]]+)\]", target["expr"])) <= {"$__rate_interval"}


def test_the_checks_of_expressions_find_what_they_look_for() -> None:
    assert unknown_names('sum by (topics) (rate(marketdata_record_total{tpic="x"}[1m]))') == {
        "marketdata_record_total",
        "topics",
        "tpic",
    }
    assert selectors_without('rate(up[1m]) / up{job="x"}', {"job"}) == ["up"]
    assert bare_counters("rate(a_total[1m]) + a_total + sum(b_count)") == ["a_total", "b_count"]
    with pytest.raises(ValueError, match="unclosed"):
        unknown_names("sum by (")


@pytest.mark.parametrize("expr", QUERIES)
def test_an_expression_names_only_families_and_labels_that_there_are(expr: str) -> None:
    assert unknown_names(expr) == set()


@pytest.mark.parametrize("expr", QUERIES)
def test_an_expression_heeds_the_chosen_deployment_and_instance(expr: str) -> None:
    assert selectors_without(expr, {*generate.DEPLOYMENT, "instance"}) == []


@pytest.mark.parametrize("expr", QUERIES)
def test_an_expression_shows_what_counters_gain(expr: str) -> None:
    assert bare_counters(expr) == []


@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_an_annotation_can_be_asked_for(annotation: dict[str, Any]) -> None:
    assert annotation["datasource"] == SOURCE
    assert unknown_names(substituted(annotation["expr"])) == set()
    assert selectors_without(substituted(annotation["expr"]), set(generate.DEPLOYMENT)) == []


def test_alerts_about_feeds_are_annotated_though_they_are_about_no_instance() -> None:
    """What they are about is in their tags."""
    annotations = [each for dashboard in DASHBOARDS.values() for each in dashboard["annotations"]["list"]]
    for alerts in (each for each in annotations if each["name"] == "Alerts"):
        assert "instance" not in alerts["expr"]
        assert {"region", "exchange", "request_type", "topic", "instance", "pod"} == set(alerts["tagKeys"].split(","))


def test_the_data_source_is_found_under_a_fixed_uid() -> None:
    (source,) = provisioned("datasources/prometheus.yaml")["datasources"]
    assert source["uid"] == "marketdata-prometheus"
    assert (source["type"], source["isDefault"], source["editable"]) == ("prometheus", True, False)


def test_grafana_and_prometheus_agree_on_the_scrape_interval() -> None:
    """`$__rate_interval` is made from it: with a larger one here rates are coarse, with a smaller one empty."""
    (source,) = provisioned("datasources/prometheus.yaml")["datasources"]
    jobs = yaml.safe_load((ROOT / "prometheus.yml").read_text())["scrape_configs"]
    assert {source["jsonData"]["timeInterval"]} == {job["scrape_interval"] for job in jobs}


def test_dashboards_come_from_files_only() -> None:
    (provider,) = provisioned("dashboards/marketdata.yaml")["providers"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
