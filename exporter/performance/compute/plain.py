"""The operations in Python alone, which the other engines are compared with. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from exporter.performance.compute.models import DenseNetwork, Layer


def returns(values: Sequence[float]) -> list[float]:
    """Return the relative change from each value to the next; NaN after 0."""
    found = [float(value) for value in values]
    return [_ratio(after, before) - 1 for before, after in itertools.pairwise(found)]


def moving_average(values: Sequence[float], window: int) -> list[float]:
    """Return the mean of the last `window` values at each value; NaN before there are as many."""
    found = [float(value) for value in values]
    means = [sum(found[end - window : end]) / window for end in range(window, len(found) + 1)]
    return _after(means, len(found))


def moving_deviation(values: Sequence[float], window: int) -> list[float]:
    """Return the sample standard deviation of the last `window` values; NaN before there are as many."""
    found = [float(value) for value in values]
    deviations = []
    for end in range(window, len(found) + 1):
        part = found[end - window : end]
        mean = sum(part) / window
        deviations.append(math.sqrt(sum([(value - mean) * (value - mean) for value in part]) / (window - 1)))
    return _after(deviations, len(found))


def exponential_average(values: Sequence[float], span: int) -> list[float]:
    """Return the average that each value moves by 2 / (span + 1) of its distance; it begins with the first value."""
    alpha = 2 / (span + 1)
    found: list[float] = []
    for value in values:
        found.append(float(value) if not found else found[-1] + alpha * (float(value) - found[-1]))
    return found


def vwap(prices: Sequence[float], volumes: Sequence[float], window: int) -> list[float]:
    """Return the mean of the last `window` prices weighted by volume; NaN without volume and before there are as many.

    Both sequences are of one length.
    """
    pairs = [(float(price), float(volume)) for price, volume in zip(prices, volumes, strict=True)]
    means = []
    for end in range(window, len(pairs) + 1):
        part = pairs[end - window : end]
        means.append(_ratio(sum([price * volume for price, volume in part]), sum([volume for _, volume in part])))
    return _after(means, len(pairs))


def predict(model: DenseNetwork, rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the outputs of a network for each row."""
    found = [[float(value) for value in row] for row in rows]
    for layer in model.layers:
        columns = list(zip(*layer.weights, strict=True))
        found = [_outputs(row, columns, layer) for row in found]
    return found


def _outputs(row: list[float], columns: Sequence[Sequence[float]], layer: Layer) -> list[float]:
    activate = _ACTIVATIONS[layer.activation]
    sums = [sum([a * b for a, b in zip(row, column, strict=True)]) for column in columns]
    return [activate(each + bias) for each, bias in zip(sums, layer.bias, strict=True)]


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _after(found: list[float], length: int) -> list[float]:
    return [math.nan] * (length - len(found)) + found


_ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "none": lambda value: value,
    "relu": lambda value: max(value, 0.0),
    "tanh": math.tanh,
    "sigmoid": _sigmoid,
}
OPERATIONS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (returns, moving_average, moving_deviation, exponential_average, vwap, predict)
}
