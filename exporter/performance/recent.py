"""Statistics of the last values. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def quantile(ordered: Sequence[float], q: float) -> float:
    """Return the q-quantile of sorted values, interpolated between neighbours as by numpy; NaN without values."""
    if not ordered:
        return math.nan
    position = q * (len(ordered) - 1)
    below, above = ordered[math.floor(position)], ordered[math.ceil(position)]
    return below + (above - below) * (position - math.floor(position)) if above > below else below


def statistics(values: Sequence[float]) -> dict[str, float]:
    """Return count, mean, median, p95, p99, min and max; all but count are NaN without values."""
    ordered = sorted(values)
    return {
        "count": len(ordered),
        "mean": math.fsum(ordered) / len(ordered) if ordered else math.nan,
        "median": quantile(ordered, 0.5),
        "p95": quantile(ordered, 0.95),
        "p99": quantile(ordered, 0.99),
        "min": ordered[0] if ordered else math.nan,
        "max": ordered[-1] if ordered else math.nan,
    }
