"""The dashboards and what provisions them. An end-to-end test asks a real Prometheus for each panel."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana import generate
from tests.support.panels import panel_queries, panels, substituted
from tests.support.promql import bare_counters, selectors_without, unknown_names

ROOT = Path(__file__).parents[1]
PROVISIONING = ROOT / "grafana" / "provisioning"
OVERVIEW: dict[str, Any] = json.loads(generate.OVERVIEW.read_text())
PANELS = [pytest.param(panel, id=panel["title"]) for panel in panels(OVERVIEW)]
QUERIES = [
    pytest.param(query.expr, id=f"{query.panel}-{number}") for number, query in enumerate(panel_queries(OVERVIEW))
]
VARIABLES = {variable["name"]: variable for variable in OVERVIEW["templating"]["list"]}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"short", "s", "bytes", "percentunit", "cps", "mps", "eps", "recps", "ops"}
KINDS = {"timeseries", "stat", "heatmap", "table", "state-timeline"}


def provisioned(path: str) -> dict[str, Any]:
    """A file of Grafana's provisioning."""
    content: dict[str, Any] = yaml.safe_load((PROVISIONING / path).read_text())
    return content


def test_the_committed_overview_is_what_the_generator_gives() -> None:
    assert generate.OVERVIEW.read_text() == generate.generated(), "run: python grafana/generate.py"


def test_the_overview_can_be_provisioned_as_it_is() -> None:
    """Classic model, a fixed uid, read-only, and no inputs that a person would have to fill in."""
    assert OVERVIEW["schemaVersion"] == 42
    assert OVERVIEW["uid"] == "marketdata-overview"
    assert OVERVIEW["editable"] is False
    assert not {"__inputs", "__requires", "id"} & OVERVIEW.keys()


def test_the_data_source_is_chosen_on_the_dashboard() -> None:
    assert (VARIABLES["datasource"]["type"], VARIABLES["datasource"]["query"]) == ("datasource", "prometheus")


@pytest.mark.parametrize("name", ["job", "instance", "region", "exchange", "request_type"])
def test_a_variable_offers_what_there_is_and_all_of_it(name: str) -> None:
    variable = VARIABLES[name]
    assert variable["multi"]
    assert variable["includeAll"]
    assert variable["allValue"] == ".+"
    assert variable["refresh"] == 2
    assert variable["datasource"] == SOURCE
    found = re.fullmatch(rf"label_values\((.+), {name}\)", variable["query"]["query"])
    assert found
    assert unknown_names(substituted(found[1])) == set()


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_and_where_it_is_from(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["type"] in KINDS
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["targets"]
    assert {json.dumps(part["datasource"]) for part in (panel, *panel["targets"])} == {json.dumps(SOURCE)}


def test_no_two_panels_have_one_title_or_number() -> None:
    for key in ("title", "id"):
        assert max(Counter(panel[key] for panel in OVERVIEW["panels"]).values()) == 1


def test_panels_stay_within_the_page_and_off_each_other() -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for place in (panel["gridPos"] for panel in OVERVIEW["panels"]):
        columns = range(place["x"], place["x"] + place["w"])
        taken.update((column, line) for column in columns for line in range(place["y"], place["y"] + place["h"]))
    assert max(taken.values()) == 1
    assert {column for column, _ in taken} == set(range(24))


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
def test_an_expression_heeds_the_chosen_job_and_instance(expr: str) -> None:
    assert selectors_without(expr, {"job", "instance"}) == []


@pytest.mark.parametrize("expr", QUERIES)
def test_an_expression_shows_what_counters_gain(expr: str) -> None:
    assert bare_counters(expr) == []


@pytest.mark.parametrize("annotation", OVERVIEW["annotations"]["list"], ids=lambda annotation: str(annotation["name"]))
def test_an_annotation_can_be_asked_for(annotation: dict[str, Any]) -> None:
    assert annotation["datasource"] == SOURCE
    assert unknown_names(substituted(annotation["expr"])) == set()


def test_the_data_source_is_found_under_a_fixed_uid() -> None:
    (source,) = provisioned("datasources/prometheus.yaml")["datasources"]
    assert source["uid"] == "marketdata-prometheus"
    assert (source["type"], source["isDefault"], source["editable"]) == ("prometheus", True, False)


def test_grafana_and_prometheus_agree_on_the_scrape_interval() -> None:
    """`$__rate_interval` is made from it: with a larger one here rates are coarse, with a smaller one empty."""
    (source,) = provisioned("datasources/prometheus.yaml")["datasources"]
    (job,) = yaml.safe_load((ROOT / "prometheus.yml").read_text())["scrape_configs"]
    assert source["jsonData"]["timeInterval"] == job["scrape_interval"]


def test_dashboards_come_from_files_only() -> None:
    (provider,) = provisioned("dashboards/marketdata.yaml")["providers"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
