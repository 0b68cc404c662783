"""Measures of risk on arrays of NumPy; pure.

Conventions of `exporter.risk`:

- A return is simple, `price / price_before - 1`, over one step of the history. The horizon of all figures is one step.
- Profits are amounts or returns; a loss is a profit with the other sign. VaR and CVaR are losses: positive is bad.
- `VaR(c)` is the smallest loss that is not exceeded with at least the probability `c`: the inverse of the empirical
  distribution function, without interpolation.
- `CVaR(c)` is the mean of the worst losses with a probability of `1 - c`; the observation at the boundary counts in
  part (Rockafellar and Uryasev; Acerbi and Tasche). It is coherent.
- What is missing is NaN and left out; the age of what is there is counted in steps.
- Weights are equal (historical) or fall by `decay` with each step of age (exponentially weighted), and add up to 1.
- A confidence `c` needs `1 / (1 - c)` observations: 20 for 95 %, 100 for 99 %. With fewer the figure is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exporter.risk.figure import Figure, too_few, unknown

Array: TypeAlias = NDArray[np.float64]
CONFIDENCES = (0.95, 0.99)
DECAY = 0.97
MINIMUM = 20
# Of sums of probabilities: what rounding may add to them.
ROUNDING = 1e-12


class TailRisk(NamedTuple):
    """VaR and CVaR, for each row of losses."""

    var: Array
    cvar: Array


class Tails:
    """Rows of losses, sorted once for all weights and confidences. NaN is an observation that is left out."""

    def __init__(self, losses: ArrayLike) -> None:
        values = np.atleast_2d(np.asarray(losses, np.float64))
        self._order = np.argsort(-values, axis=-1)  # NaN comes last
        self._losses = np.take_along_axis(values, self._order, axis=-1)
        self._missing = np.isnan(self._losses)
        self._losses[self._missing] = 0.0
        self.counts: NDArray[np.int64] = values.shape[-1] - self._missing.sum(axis=-1)

    def at(self, confidences: Sequence[float], weights: ArrayLike | None = None) -> list[TailRisk]:
        """Return VaR and CVaR of each row for each confidence; NaN for a row without observations.

        `weights` of the observations need not add up to 1; without them all are equal.
        """
        if not self._losses.shape[-1]:
            none = np.full(len(self._losses), np.nan)
            return [TailRisk(none, none) for _ in confidences]
        shares = self._shares(weights)
        reached = np.cumsum(shares, axis=-1)  # the probability of a loss that is as large, or larger
        summed = np.cumsum(shares * self._losses, axis=-1)
        rows = np.arange(len(shares))
        found = []
        for confidence in confidences:
            tail = 1.0 - confidence
            last = shares.shape[-1] - 1
            at = np.minimum((reached <= tail + ROUNDING).sum(axis=-1), last)
            var, share = self._losses[rows, at], shares[rows, at]
            rest = tail - (reached[rows, at] - share)
            cvar = (summed[rows, at] - share * var + rest * var) / tail
            empty = self.counts == 0
            found.append(TailRisk(np.where(empty, np.nan, var), np.where(empty, np.nan, cvar)))
        return found

    def _shares(self, weights: ArrayLike | None) -> Array:
        """Return the weights in the order of the losses, each row with a sum of 1."""
        given = np.ones(self._order.shape[-1]) if weights is None else np.asarray(weights, np.float64)
        found: Array = given[self._order] if given.ndim == 1 else np.take_along_axis(given, self._order, -1)
        found[self._missing] = 0.0
        total = found.sum(axis=-1, keepdims=True)
        found /= np.where(total > 0, total, 1.0)
        return found


def exponential_weights(count: int, decay: float = DECAY) -> Array:
    """Return the weights of `count` observations, the oldest first, that fall by `decay` with age and add up to 1."""
    weights = decay ** np.arange(count - 1, -1, -1, dtype=np.float64)
    found: Array = weights / weights.sum() if count else weights
    return found


def needed(confidence: float, minimum: int = MINIMUM) -> int:
    """Return how many observations a confidence needs."""
    return max(minimum, math.ceil(1 / (1 - confidence) - 1e-6))


def simple_returns(prices: ArrayLike) -> Array:
    """Return the relative changes along the first axis; NaN where one of both prices is missing or not above 0."""
    values = np.asarray(prices, np.float64)
    positive = np.where(values > 0, values, np.nan)
    found: Array = positive[1:] / positive[:-1] - 1
    return found


def value_at_risk(
    profits: ArrayLike, confidence: float = 0.95, decay: float | None = None, minimum: int = MINIMUM
) -> Figure:
    """Return VaR of profits or returns, the oldest first, in their unit; exponentially weighted with `decay`."""
    return _tail(profits, confidence, decay, minimum, "var")


def conditional_value_at_risk(
    profits: ArrayLike, confidence: float = 0.95, decay: float | None = None, minimum: int = MINIMUM
) -> Figure:
    """Return CVaR (expected shortfall) of profits or returns, as `value_at_risk` does."""
    return _tail(profits, confidence, decay, minimum, "cvar")


def volatility(returns: ArrayLike, decay: float | None = None, minimum: int = MINIMUM) -> Figure:
    """Return the standard deviation for one step: that of the sample, or the exponentially weighted one."""
    series, count = _series(returns)
    if count < max(2, minimum):
        return too_few(count, max(2, minimum))
    weights = None if decay is None else exponential_weights(len(series), decay)
    return Figure(float(deviations(series[:, None], weights)[0]))


def deviations(returns: Array, weights: Array | None = None) -> Array:
    """Return the standard deviation of each column, NaN left out: of the sample, or with weights of the rows."""
    there = ~np.isnan(returns)
    values = np.where(there, returns, 0.0)
    shares = there.astype(np.float64) if weights is None else there * weights[:, None]
    total = shares.sum(axis=0)
    degrees = total - 1 if weights is None else total
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (shares * values).sum(axis=0) / total
        squares = (shares * (values - mean) ** 2).sum(axis=0)
        found: Array = np.sqrt(np.where(degrees > 0, squares / degrees, np.nan))
    return found


def maximum_drawdown(values: ArrayLike) -> Figure:
    """Return the largest fall of prices or values from their running peak, as a share of that peak: 0 to 1.

    Values before the first above 0 are left out. Unknown without one.
    """
    series, _ = _series(values)
    fall = float(drawdowns(series[:, None])[0])
    return Figure(fall) if fall == fall else unknown("no value above 0")  # NaN


def drawdowns(values: Array) -> Array:
    """Return the maximum drawdown of each column; NaN for a column without a value above 0."""
    peaks = np.fmax.accumulate(np.where(values > 0, values, np.nan), axis=0)
    falls = 1 - values / peaks
    return np.asarray(np.where(np.isnan(falls).all(axis=0), np.nan, np.fmax.reduce(falls, axis=0, initial=0.0)))


def correlations(returns: ArrayLike, minimum: int = MINIMUM) -> Array:
    """Return the correlation of each two columns, of the rows that both have.

    NaN where there are fewer than `minimum` of these, or where one of both does not change.
    """
    values = np.asarray(returns, np.float64)
    there = ~np.isnan(values)
    counts = there.sum(axis=0)
    values = np.where(there, values, 0.0)
    middle = values.sum(axis=0) / np.maximum(counts, 1)
    centered = np.where(there, values - middle, 0.0)
    # A column that does not change is left with what rounding makes of its mean.
    centered[:, (np.abs(centered) <= 1e-14 * np.abs(middle)).all(axis=0)] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        if there.all():
            lengths = np.sqrt((centered**2).sum(axis=0))
            found = (centered / lengths).T @ (centered / lengths)
            enough = np.asarray(len(values) >= max(2, minimum))
        else:
            found, pairs = _pairwise(centered, there.astype(np.float64))
            enough = pairs >= max(2, minimum)
    return np.asarray(np.clip(np.where(enough, found, np.nan), -1.0, 1.0))


def _pairwise(centered: Array, there: Array) -> tuple[Array, Array]:
    """Return correlations, and how many rows each two columns share; values that are missing are 0 in `centered`."""
    pairs = there.T @ there
    sums = centered.T @ there  # of each column, in the rows that it shares with another
    squares = (centered**2).T @ there - sums**2 / pairs
    products = centered.T @ centered - sums * sums.T / pairs
    lengths = np.sqrt(np.where(squares > 1e-24 * pairs * np.max(centered**2, axis=0)[:, None], squares, np.nan))
    return np.asarray(products / (lengths * lengths.T)), pairs


class Concentration(NamedTuple):
    """How concentrated exposures are: the Herfindahl-Hirschman index, and the largest share with its place."""

    hhi: float
    largest_share: float
    largest: int


def concentration(exposures: ArrayLike) -> Concentration | None:
    """Return the concentration of absolute exposures: HHI is 1 / n for n equal ones, 1 for one; None without any."""
    sizes = np.abs(np.asarray(exposures, np.float64))
    total = float(sizes.sum())
    if not total > 0:
        return None
    shares = sizes / total
    largest = int(shares.argmax())
    return Concentration(float((shares**2).sum()), float(shares[largest]), largest)


def _tail(profits: ArrayLike, confidence: float, decay: float | None, minimum: int, which: str) -> Figure:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence is between 0 and 1, not {confidence!r}")
    (series, count), least = _series(profits), needed(confidence, minimum)
    if count < least:
        return too_few(count, least)
    weights = None if decay is None else exponential_weights(len(series), decay)
    return Figure(float(getattr(Tails(-series).at([confidence], weights)[0], which)[0]))


def _series(values: ArrayLike) -> tuple[Array, int]:
    """Return an array of one dimension, and how many of its values are not missing."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1:
        raise ValueError(f"values are of one dimension, not {array.ndim}")
    if np.isinf(array).any():
        raise ValueError("values are finite, or NaN where one is missing")
    return array, int(np.count_nonzero(~np.isnan(array)))
