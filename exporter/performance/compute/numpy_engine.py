"""The operations on whole arrays of NumPy. Pure."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from exporter.performance.compute.models import DenseNetwork

Array: TypeAlias = NDArray[np.float64]
# Of an exponential average: all blocks take a step at once, and then a loop goes from block to block.
BLOCK = 64


def returns(values: ArrayLike) -> Array:
    """See plain."""
    array = numbers(values)
    return _ratio(array[1:], array[:-1]) - 1


def moving_average(values: ArrayLike, window: int) -> Array:
    """See plain."""
    array = numbers(values)
    return _after(_windows(array, window).mean(axis=1), len(array))


def moving_deviation(values: ArrayLike, window: int) -> Array:
    """See plain."""
    array = numbers(values)
    return _after(_windows(array, window).std(axis=1, ddof=1), len(array))


def exponential_average(values: ArrayLike, span: int) -> Array:
    """See plain."""
    array = numbers(values)
    if not len(array):
        return array
    alpha = 2 / (span + 1)
    steps = np.resize(array, (-(-len(array) // BLOCK), BLOCK)).T * alpha  # a column for each block
    for before, step in pairwise(steps):
        step += (1 - alpha) * before
    # Each block began with 0: what it gets from the block before fades in it.
    fading = (1 - alpha) ** np.arange(1, BLOCK + 1)
    carried = [float(array[0])]
    for last in steps[-1, :-1].tolist():
        carried.append(last + float(fading[-1]) * carried[-1])
    steps += np.outer(fading, carried)
    return np.ascontiguousarray(steps.T).reshape(-1)[: len(array)]


def vwap(prices: ArrayLike, volumes: ArrayLike, window: int) -> Array:
    """See plain."""
    price, volume = numbers(prices), numbers(volumes)
    if len(price) != len(volume):
        raise ValueError(f"there are {len(price)} prices and {len(volume)} volumes")
    turnover = _windows(price * volume, window).sum(axis=1)
    return _after(_ratio(turnover, _windows(volume, window).sum(axis=1)), len(price))


def predict(model: DenseNetwork, rows: ArrayLike) -> Array:
    """See plain."""
    found = matrix(rows, model.inputs)
    for weights, bias, activation in layers(model):
        found = _ACTIVATIONS[activation](np.asarray(found @ weights + bias))
    return found


def numbers(values: ArrayLike) -> Array:
    """Return an array of one dimension; raise `ValueError` for others."""
    array = np.ascontiguousarray(values, np.float64)
    if array.ndim != 1 or np.ndim(values) != 1:
        raise ValueError(f"values are of one dimension, not {np.ndim(values)}")
    return array


def matrix(rows: ArrayLike, inputs: int) -> Array:
    """Return an array with a row for each case; raise `ValueError` for other shapes."""
    array = np.ascontiguousarray(rows, np.float64)
    if array.size == 0:
        array = array.reshape(0, inputs)
    if array.ndim != 2 or array.shape[1] != inputs:
        raise ValueError(f"each row has {inputs} values, the shape is not {array.shape}")
    return array


def layers(model: DenseNetwork) -> list[tuple[Array, Array, str]]:
    """Return the layers of a network as arrays, made once."""
    made: list[tuple[Array, Array, str]] = model.prepared.setdefault(
        "numpy", [(np.array(layer.weights), np.array(layer.bias), layer.activation) for layer in model.layers]
    )
    return made


def _windows(array: Array, window: int) -> Array:
    return sliding_window_view(array, window) if len(array) >= window else np.empty((0, window))


def _after(found: Array, length: int) -> Array:
    return np.concatenate([np.full(length - len(found), np.nan), found])


def _ratio(part: Array, whole: Array) -> Array:
    found: Array = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole != 0)
    return found


def _sigmoid(values: Array) -> Array:
    small = np.exp(-np.abs(values))  # never overflows
    return np.asarray(np.where(values >= 0, 1.0, small) / (1.0 + small))


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "none": lambda values: values,
    "relu": lambda values: np.maximum(values, 0.0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
}
# Infinities and what comes of them are results, as in the other engines.
_quietly = np.errstate(all="ignore")
_FUNCTIONS = (returns, moving_average, moving_deviation, exponential_average, vwap, predict)
OPERATIONS: dict[str, Callable[..., Any]] = {each.__name__: _quietly(each) for each in _FUNCTIONS}
