"""The operations as loops that Numba compiles, each at its first call. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from exporter.performance.compute.models import ACTIVATIONS, DenseNetwork
from exporter.performance.compute.numpy_engine import Array, layers, matrix, numbers

# Without the global interpreter lock: other threads go on meanwhile.
_compiled = njit(nogil=True)


@_compiled  # type: ignore[untyped-decorator]
def _returns(values: Array) -> Array:
    found = np.empty(max(len(values) - 1, 0))
    for i in range(len(found)):
        found[i] = values[i + 1] / values[i] - 1 if values[i] != 0 else math.nan
    return found


@_compiled  # type: ignore[untyped-decorator]
def _moving_average(values: Array, window: int) -> Array:
    found = np.full(len(values), math.nan)
    for end in range(window, len(values) + 1):
        total = 0.0
        for i in range(end - window, end):
            total += values[i]
        found[end - 1] = total / window
    return found


@_compiled  # type: ignore[untyped-decorator]
def _moving_deviation(values: Array, window: int) -> Array:
    found = np.full(len(values), math.nan)
    for end in range(window, len(values) + 1):
        total = 0.0
        for i in range(end - window, end):
            total += values[i]
        mean, squares = total / window, 0.0
        for i in range(end - window, end):
            squares += (values[i] - mean) ** 2
        found[end - 1] = math.sqrt(squares / (window - 1))
    return found


@_compiled  # type: ignore[untyped-decorator]
def _exponential_average(values: Array, alpha: float) -> Array:
    found = values.copy()
    for i in range(1, len(found)):
        found[i] = found[i - 1] + alpha * (values[i] - found[i - 1])
    return found


@_compiled  # type: ignore[untyped-decorator]
def _vwap(prices: Array, volumes: Array, window: int) -> Array:
    found = np.full(len(prices), math.nan)
    for end in range(window, len(prices) + 1):
        turnover, total = 0.0, 0.0
        for i in range(end - window, end):
            turnover += prices[i] * volumes[i]
            total += volumes[i]
        if total != 0:
            found[end - 1] = turnover / total
    return found


@_compiled  # type: ignore[untyped-decorator]
def _layer(rows: Array, weights: Array, bias: Array, activation: int) -> Array:
    found = np.empty((rows.shape[0], weights.shape[1]))
    for row in range(rows.shape[0]):
        for j in range(weights.shape[1]):
            found[row, j] = bias[j]
        for i in range(weights.shape[0]):
            for j in range(weights.shape[1]):
                found[row, j] += rows[row, i] * weights[i, j]
        for j in range(weights.shape[1]):
            found[row, j] = _activate(found[row, j], activation)
    return found


@_compiled  # type: ignore[untyped-decorator]
def _activate(value: float, activation: int) -> float:
    if activation == 1:
        return max(value, 0.0)
    if activation == 2:
        return math.tanh(value)
    if activation == 3:
        return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
    return value


def _vwap_of(prices: ArrayLike, volumes: ArrayLike, window: int) -> Any:
    price, volume = numbers(prices), numbers(volumes)
    if len(price) != len(volume):
        raise ValueError(f"there are {len(price)} prices and {len(volume)} volumes")
    return _vwap(price, volume, window)


def _predict(model: DenseNetwork, rows: ArrayLike) -> Any:
    found = matrix(rows, model.inputs)
    for weights, bias, activation in layers(model):
        found = _layer(found, weights, bias, ACTIVATIONS.index(activation))
    return found


OPERATIONS: dict[str, Callable[..., Any]] = {
    "returns": lambda values: _returns(numbers(values)),
    "moving_average": lambda values, window: _moving_average(numbers(values), window),
    "moving_deviation": lambda values, window: _moving_deviation(numbers(values), window),
    "exponential_average": lambda values, span: _exponential_average(numbers(values), 2 / (span + 1)),
    "vwap": _vwap_of,
    "predict": _predict,
}
