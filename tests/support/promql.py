"""What an expression of PromQL names."""

from __future__ import annotations

from collections.abc import Callable

import promql_parser as promql

from tests.support.families import TARGET, family_of, known

_COUNTERS = ("_total", "_bucket", "_sum", "_count")
_OF_COUNTERS = {"rate", "increase", "irate", "changes", "resets"}


def unknown_names(expr: str) -> set[str]:
    """The families, and the labels by which is matched and grouped, that no family in the expression has."""
    families = families_in(expr)
    labels: set[str] = {matcher.name for selector in _selectors(expr) for matcher in selector.matchers.matchers}
    for node in _nodes(expr):
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            labels.update(node.modifier.labels)
    theirs = TARGET.union(*(known().get(family, frozenset()) for family in families))
    return (families - known().keys()) | (labels - theirs)


def families_in(expr: str) -> set[str]:
    """The families that the expression names."""
    return {family_of(str(selector.name)) for selector in _selectors(expr)}


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
