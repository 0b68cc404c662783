"""Findings about `metrics.families` and `metrics.histograms`: what the shipped alerts and dashboards lose by them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import NamedTuple

from exporter.config.schema import Config
from exporter.instrument.selection import selection
from exporter.tools.check.model import Finding, Level

# Names in one line.
LISTED = 6


class Use(NamedTuple):
    """The shipped alerts and panels that need a family."""

    is_histogram: bool
    alerts: list[str]
    panels: list[str]


def uses() -> dict[str, Use]:
    """Return the use of each family, by the name that a query has for it."""
    text = files(__package__ or "").joinpath("uses.json").read_text()
    return {name: Use(use["is_histogram"], use["alerts"], use["panels"]) for name, use in json.loads(text).items()}


def shown(config: Config) -> Iterator[Finding]:
    """Yield a finding for globs that match no family, for alerts and for panels without data; none by default."""
    known, selected = uses(), selection(config.metrics)
    for key in ("include", "exclude"):
        for glob in getattr(config.metrics.families, key):
            if not any(fnmatchcase(name, glob) or fnmatchcase(name.removesuffix("_total"), glob) for name in known):
                yield Finding(Level.WARN, f"metrics.families.{key}", f"{glob} matches no family")
    hidden = [use for name, use in known.items() if not selected.shows(name.removesuffix("_total"), _kind(name, use))]
    for kind, names in (("alerts", [use.alerts for use in hidden]), ("panels", [use.panels for use in hidden])):
        lost = sorted({name for some in names for name in some})
        for start in range(0, len(lost), LISTED):
            yield Finding(Level.WARN, "metrics", f"no data for {kind} {', '.join(lost[start : start + LISTED])}")


def _kind(name: str, use: Use) -> str:
    return "histogram" if use.is_histogram else "counter" if name.endswith("_total") else "gauge"
