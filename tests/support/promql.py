"""What an expression of PromQL names."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import promql_parser as promql

from tests.support.families import TARGET, family_of, known

_COUNTERS = ("_total", "_bucket", "_sum", "_count")
_OF_COUNTERS = {"rate", "increase", "irate", "changes", "resets"}
_EXPORTED = "exported_"  # what Prometheus makes of a label whose place a target's took


class Grouping(NamedTuple):
    """How an aggregation or a match between two vectors chooses labels: `by`, `without`, `on`, `ignoring`."""

    word: str
    labels: frozenset[str]


def unknown_names(expr: str) -> set[str]:
    """The families, and the labels by which is matched and grouped, that no family in the expression has."""
    families = families_in(expr)
    labels = matched_labels(expr).union(*(grouping.labels for grouping in groupings(expr)))
    theirs = TARGET.union(*(known().get(family, frozenset()) for family in families or known()))
    return (families - known().keys()) | {label for label in labels if label.removeprefix(_EXPORTED) not in theirs}


def families_in(expr: str) -> set[str]:
    """The families that the expression names."""
    return {family_of(str(selector.name)) for selector in _selectors(expr) if selector.name is not None}


def matched_labels(expr: str) -> set[str]:
    """Return the labels by which series are selected, but for their name."""
    matchers = [matcher for selector in _selectors(expr) for matcher in selector.matchers.matchers]
    return {matcher.name for matcher in matchers} - {"__name__"}


def groupings(expr: str) -> list[Grouping]:
    """List the labels of each aggregation, and of each match that names some."""
    found = []
    for node in _nodes(expr):
        if isinstance(node, promql.AggregateExpr):
            chosen = node.modifier
            is_by = chosen is not None and chosen.type == promql.AggModifierType.By
            found.append(Grouping("by" if is_by else "without", frozenset(chosen.labels if chosen else ())))
        elif isinstance(node, promql.BinaryExpr) and node.modifier is not None and node.modifier.matching is not None:
            matching = node.modifier.matching
            is_on = matching.type == promql.LabelModifierType.Include
            found.append(Grouping("on" if is_on else "ignoring", frozenset(matching.labels)))
    return found


def selectors_without(expr: str, labels: set[str]) -> list[str]:
    """The series that are selected without a matcher for each of the labels."""
    return [
        str(selector.name)
        for selector in _selectors(expr)
        if not labels <= {matcher.name for matcher in selector.matchers.matchers}
    ]


def bare_counters(expr: str) -> list[str]:
    """The counters of which the expression uses the value itself, which means nothing after a restart."""
    used = [str(selector.name) for selector in _selectors(expr)]
    for call in _nodes(expr):
        if isinstance(call, promql.Call) and call.func.name in _OF_COUNTERS:
            for selector in _selectors(call.prettify()):
                used.remove(str(selector.name))
    return [name for name in used if name.endswith(_COUNTERS)]


def _selectors(expr: str) -> list[promql.VectorSelector]:
    return [node for node in _nodes(expr) if isinstance(node, promql.VectorSelector)]


def _nodes(expr: str) -> list[promql.Expr]:
    """Every node of the tree, the selectors in ranges too; ValueError when the expression does not parse."""
    found: list[promql.Expr] = []
    visit: Callable[[promql.Expr], None] = found.append
    promql.walk(promql.parse(expr), visit)
    return found
