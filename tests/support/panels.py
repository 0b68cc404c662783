"""The expressions of a dashboard as a Prometheus takes them: `Panel.expr` has no variable of Grafana left."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class PanelQuery(NamedTuple):
    """One query of one panel."""

    panel: str
    expr: str


def panel_queries(dashboard: Mapping[str, Any], interval: str = "1m") -> Iterator[PanelQuery]:
    """Every query of every panel, with all values of each variable chosen and `interval` for rates."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield PanelQuery(panel["title"], substituted(target["expr"], interval))


def panels(dashboard: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The panels that show something: rows are headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def substituted(expr: str, interval: str = "1m") -> str:
    """The expression as Grafana would send it with All chosen everywhere."""
    return re.sub(r"\$\w+", ".+", expr.replace("$__rate_interval", interval))
