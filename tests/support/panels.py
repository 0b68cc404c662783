"""The expressions of a dashboard as a Prometheus takes them: `Panel.expr` has no variable of Grafana left."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

# Labels that no target of a test has, unless the test says so; Grafana chooses nothing of them.
UNLABELLED = {"cluster": "", "namespace": ""}


class PanelQuery(NamedTuple):
    """One query of one panel."""

    panel: str
    expr: str


def panel_queries(
    dashboard: Mapping[str, Any], interval: str = "1m", chosen: Mapping[str, str] = UNLABELLED
) -> Iterator[PanelQuery]:
    """Yield every query of every panel, with `interval` for rates and all of the variables that are not `chosen`."""
    shown = {**all_values(dashboard), **chosen}
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield PanelQuery(panel["title"], substituted(target["expr"], interval, shown))


def all_values(dashboard: Mapping[str, Any]) -> dict[str, str]:
    """What each variable stands for while all of it is chosen."""
    variables = dashboard["templating"]["list"]
    return {variable["name"]: variable["allValue"] for variable in variables if "allValue" in variable}


def panels(dashboard: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The panels that show something: rows are headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def substituted(expr: str, interval: str = "1m", chosen: Mapping[str, str] = UNLABELLED) -> str:
    """Return the expression as Grafana would send it with All of the variables that are not `chosen`."""
    return re.sub(r"\$(\w+)", lambda found: chosen.get(found[1], ".+"), expr.replace("$__rate_interval", interval))
