"""Quantiles from the buckets of a histogram, as Prometheus' `histogram_quantile` estimates them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


def quantile(q: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """Return the q-quantile, interpolated within its bucket; None without values.

    `counts` are those of single buckets, with one entry more than `bounds`. A quantile above the last bound is the last
    bound. The lowest bucket begins at 0, as all values are positive.
    """
    total = sum(counts)
    if not total:
        return None
    rank = q * total
    index, below = next((index, below) for index, below in enumerate(accumulate(counts)) if below >= rank and below)
    if index == len(bounds):
        return bounds[-1]
    start = bounds[index - 1] if index else 0.0
    inside = counts[index]
    return start + (bounds[index] - start) * (rank - (below - inside)) / inside if inside else start
