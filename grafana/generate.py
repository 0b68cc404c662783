"""Writes grafana/dashboards/*.json, one for each of grafana/*.yml: `python grafana/generate.py`.

Also a list of the alerts and panels that need each family, by which `check` names what lacks data without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

SOURCES = tuple(
    Path(__file__).parent / f"{name}.yml"
    for name in ("overview", "feed", "pipeline", "sidecar", "programs", "ingestion", "caches", "risk")
)
DASHBOARDS = Path(__file__).parent / "dashboards"
RULES = Path(__file__).parent / "rules"
USES = Path(__file__).parents[1] / "exporter" / "tools" / "check" / "uses.json"

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# What names a deployment. Two of them are shown together only when both are chosen: their feeds have the same names.
DEPLOYMENT = ("job", "cluster", "namespace")
_MATCHERS = [f'{label}=~"${label}"' for label in DEPLOYMENT]
IN_DEPLOYMENT = ", ".join(_MATCHERS)
SIDECAR = f'{IN_DEPLOYMENT}, instance=~"$instance"'
FEED = f'{SIDECAR}, region=~"$region", exchange=~"$exchange", request_type=~"$request_type"'
TOPIC = f'{SIDECAR}, topic=~"$topic"'
PARTITION = f'{TOPIC}, partition=~"$partition"'
F = "region, exchange, request_type"
S = "instance, pod"
IN_LEGENDS = {
    "FEED": "{{region}}:{{exchange}}:{{request_type}}",
    "PARTITION": "{{topic}}/{{partition}}",
    "SIDECAR": "{{instance}} {{pod}}",
}
BUILD_INFO = "marketdata_exporter_build_info"
# Each variable offers what the ones before it leave. A dashboard has those that its queries name.
VARIABLES = {
    **{
        label: f"label_values(marketdata_exporter_build_info{{{', '.join(_MATCHERS[:at])}}}, {label})"
        for at, label in enumerate(DEPLOYMENT)
    },
    "instance": f"label_values(marketdata_exporter_build_info{{{IN_DEPLOYMENT}}}, instance)",
    "region": f"label_values(marketdata_batches_total{{{SIDECAR}}}, region)",
    "exchange": f'label_values(marketdata_batches_total{{{SIDECAR}, region=~"$region"}}, exchange)',
    "request_type": (
        f'label_values(marketdata_batches_total{{{SIDECAR}, region=~"$region", exchange=~"$exchange"}}, request_type)'
    ),
    "stage": f'label_values({{__name__=~"marketdata_stage_latency_seconds(_bucket)?", {FEED}}}, stage)',
    "kind": f"label_values(marketdata_anomalies_total{{{FEED}}}, kind)",
    "symbol": f"label_values(marketdata_symbol_messages_total{{{FEED}}}, symbol)",
    "topic": f"label_values(marketdata_records_total{{{SIDECAR}}}, topic)",
    "partition": f"label_values(marketdata_consumer_position_offset{{{TOPIC}}}, partition)",
}
# The states of feeds as numbers, the worse the higher; a panel of `states` shows them.
STATES = {
    "ok": "green",
    "unknown": "text",
    "maintenance": "blue",
    "partial": "yellow",
    "delayed": "orange",
    "frozen": "light-blue",
    "rejected": "dark-red",
    "silent": "red",
    "sidecar_stalled": "purple",
}
_IN_STATE = {state: f'marketdata_feed_state{{{FEED}, state="{state}"}}' for state in STATES}
_IN_STATE["silent"] = f"min by ({F}) ({_IN_STATE['silent']})"  # not while another replica hears the feed
_NUMBERED = " or ".join(f"{series} * {number}" for number, series in enumerate(_IN_STATE.values()))
IN_EXPRESSIONS = {
    "SIDECAR": SIDECAR,
    "FEED": FEED,
    "TOPIC": TOPIC,
    "PARTITION": PARTITION,
    "F": F,
    "S": S,
    "STATE": f"max by ({F}) ({_NUMBERED})",
}
ANNOTATIONS = {
    "Restarts": (
        "blue",
        f"changes(process_start_time_seconds{{{SIDECAR}}}[$__rate_interval]) > 0",
        "{{instance}} restarted",
    ),
    "Alerts": (
        "red",
        f'ALERTS{{alertstate="firing", alertname=~"Marketdata.+", {IN_DEPLOYMENT}}}',
        "{{alertname}}",
    ),
}
ALL = {
    "includeAll": True,
    "allValue": ".+",
    "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
}
ANY_OR_NONE = ALL | {"allValue": ".*"}  # a program may push without an instance
FIRST: dict[str, Any] = {"includeAll": False, "current": {}}  # a label that no sidecar has is chosen as empty
COLUMNS = 24
OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
    "state-timeline": {
        "mergeValues": True,
        "showValue": "never",
        "legend": {"showLegend": True, "placement": "bottom"},
    },
    "heatmap": {
        "calculate": False,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        "yAxis": {"axisPlacement": "left"},
        "tooltip": {"mode": "single", "yHistogram": True},
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
}
DRAWING = {"timeseries": {"fillOpacity": 10, "lineWidth": 1, "showPoints": "never", "spanNulls": False}}

# To the other dashboards, with what is chosen on this one.
LINKS = {
    "type": "dashboards",
    "title": "Market data",
    "tags": ["marketdata"],
    "asDropdown": False,
    "includeVars": True,
    "keepTime": True,
}

Json = dict[str, Any]


def dashboard(head: Json, rows: list[Json], chosen_from: str = "") -> Json:
    """A dashboard in Grafana's classic model; `head` is its uid, title and description.

    Without `chosen_from`, deployments and instances are those of sidecars.
    """
    panels = [{"id": number, **panel} for number, panel in enumerate(_laid_out(rows), start=1)]
    return {
        **head,
        "tags": ["marketdata", "kafka", "prometheus"],
        "schemaVersion": 42,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": list(_variables(panels, chosen_from))},
        "annotations": {"list": [_annotation(name, *what) for name, what in ANNOTATIONS.items()]},
        "links": [LINKS],
        "panels": panels,
    }


def _variables(panels: list[Json], chosen_from: str) -> Iterator[Json]:
    yield {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "current": {}}
    expressions = " ".join(target["expr"] for panel in panels for target in panel.get("targets", ()))
    named = set(re.findall(r"\$(\w+)", expressions))
    for name, query in VARIABLES.items():
        if name not in named:
            continue
        if chosen_from:
            query = query.replace(f"{BUILD_INFO}{{", f"{{{chosen_from}, ").replace(", }", "}")
        yield {
            "type": "query",
            "name": name,
            "label": name.replace("_", " ").capitalize(),
            "datasource": DATASOURCE,
            "query": {"query": query, "refId": "StandardVariableQuery"},
            "definition": query,
            "refresh": 2,  # when the range of time changes
            "sort": 1,
            "multi": True,
            **(FIRST if name in DEPLOYMENT else ANY_OR_NONE if chosen_from and name == "instance" else ALL),
        }


def _annotation(name: str, colour: str, expr: str, title: str) -> Json:
    look = {"name": name, "iconColor": colour, "titleFormat": title, "tagKeys": f"{F}, topic, {S}".replace(" ", "")}
    return {"datasource": DATASOURCE, "enable": True, "expr": expr, "step": "15s", **look}


def _laid_out(rows: list[Json]) -> Iterator[Json]:
    """Every row and panel with its place: from left to right, and down when the line is full."""
    y = 0
    for row in rows:
        yield {"type": "row", "title": row["row"], "collapsed": False, "gridPos": _at(0, y, COLUMNS, 1), "panels": []}
        x, y, line = 0, y + 1, 0
        for panel in row["panels"]:
            width, height = panel.get("size", (8, 8))
            if x + width > COLUMNS:
                x, y, line = 0, y + line, 0
            yield {**_panel(panel), "gridPos": _at(x, y, width, height)}
            x, line = x + width, max(line, height)
        y += line


def _at(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Json) -> Json:
    kind = panel.get("kind", "timeseries")
    targets = [_target(kind, index, legend, expr) for index, (legend, expr) in enumerate(panel["queries"].items())]
    return {
        "type": kind,
        "title": panel["title"],
        "description": panel["description"],
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": _field(kind, panel), "overrides": _overrides(panel)},
        "options": OPTIONS[kind],
        "transformations": _one_table(targets) if kind == "table" else [],
    }


def _target(kind: str, index: int, legend: str, expr: str) -> Json:
    asked = {"instant": True} if kind == "table" else {"range": True}
    return {
        "refId": chr(ord("A") + index),
        "datasource": DATASOURCE,
        "expr": _replaced(_for_both(expr), IN_EXPRESSIONS),
        "legendFormat": _replaced(legend, IN_LEGENDS),
        "format": kind if kind in ("table", "heatmap") else "time_series",
        **asked,
    }


def _for_both(expr: str) -> str:
    """The expression about classic buckets, after the same about native histograms: what there is is shown."""
    if "_bucket{" not in expr:
        return expr
    native = expr.replace("_bucket{", "{").replace("by (le, ", "by (").replace("sum by (le) ", "sum ")
    # Quantiles of both kinds have the same labels. Those of a heatmap have not: one kind goes without the other there.
    return f"{native.rstrip()} {'or' if 'histogram_quantile' in expr else 'or on ()'} {expr}"


def _replaced(text: str, words: dict[str, str]) -> str:
    return re.sub(r"\b[A-Z]+\b", lambda found: words.get(found[0], found[0]), text)


def _field(kind: str, panel: Json) -> Json:
    steps = [{"value": None, "color": "green"}]
    steps += [{"value": value, "color": colour} for value, colour in panel.get("steps", {}).items()]
    words = STATES if panel.get("words") == "states" else panel.get("words", {})
    texts = {str(value): {"text": text, "color": colour} for value, (text, colour) in enumerate(words.items())}
    return {
        "unit": panel["unit"],
        "min": 0,
        "color": {"mode": "thresholds" if kind in ("stat", "state-timeline") else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": [{"type": "value", "options": texts}] if texts else [],
        "custom": DRAWING.get(kind, {}),
    }


def _overrides(panel: Json) -> list[Json]:
    """The units of the columns of a table, where they differ from the panel's."""
    return [
        {"matcher": {"id": "byName", "options": column}, "properties": [{"id": "unit", "value": unit}]}
        for column, unit in panel.get("units", {}).items()
    ]


def _one_table(targets: list[Json]) -> list[Json]:
    """The answers to all queries as one table: a line for each set of labels, a column for each query."""
    names = {f"Value #{target['refId']}": target["legendFormat"] for target in targets}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": names}},
    ]


def generated(source: Path) -> str:
    """The text of the dashboard that a source describes."""
    content = yaml.safe_load(source.read_text())
    return json.dumps(dashboard(content["dashboard"], content["rows"], content.get("chosen_from", "")), indent=2) + "\n"


def uses() -> str:
    """Return, as JSON, the kind of each family as far as it matters, and the alerts and panels that need it."""
    found: dict[str, Json] = {}
    for kind, name, expr in (*_alerts(), *_all_panels()):
        for metric in re.findall(r"\b(?:marketdata(?!_cache_)|process|python)_\w+", re.sub(r"\{[^}]*\}", "", expr)):
            family = re.sub("_(bucket|sum|count)$", "", metric)
            use = found.setdefault(family, {"is_histogram": False, "alerts": [], "panels": []})
            use["is_histogram"] |= metric.endswith("_bucket")
            use[kind] += [] if name in use[kind] else [name]
    return json.dumps(dict(sorted(found.items())), indent=1) + "\n"


def _alerts() -> Iterator[tuple[str, str, str]]:
    """Each alert with its expression, in which recorded series are replaced by what they are made of."""
    files = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    recorded = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}
    for rule in rules:
        expr = rule["expr"]
        while names := [name for name in recorded if name in expr]:
            for name in names:
                expr = expr.replace(name, recorded[name])
        if "alert" in rule:
            yield "alerts", rule["alert"], expr


def _all_panels() -> Iterator[tuple[str, str, str]]:
    for source in SOURCES:
        content = yaml.safe_load(source.read_text())
        if "chosen_from" in content:  # about others than sidecars
            continue
        for panel in (panel for row in content["rows"] for panel in row["panels"]):
            for expr in panel["queries"].values():
                yield "panels", f"{content['dashboard']['title']} / {panel['title']}", _replaced(expr, IN_EXPRESSIONS)


def destination(source: Path) -> Path:
    """The file of the dashboard that a source describes."""
    return DASHBOARDS / f"{source.stem}.json"


if __name__ == "__main__":
    for each in SOURCES:
        destination(each).write_text(generated(each))
    if USES.parent.exists():  # else only the dashboards are here
        USES.write_text(uses())
