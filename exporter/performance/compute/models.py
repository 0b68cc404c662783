"""Models for inference. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import Any, NamedTuple, TypeAlias

ACTIVATIONS = ("none", "relu", "tanh", "sigmoid")
Matrix: TypeAlias = Sequence[Sequence[float]]


class Layer(NamedTuple):
    """One layer: `weights` has a row for each input and a column for each output, `bias` a number for each output."""

    weights: Matrix
    bias: Sequence[float]
    activation: str = "none"


class DenseNetwork:
    """Fully connected layers, which every engine computes.

    Weights are numbers in nested sequences or arrays; they are copied. Raises `ValueError` for shapes that do not fit
    each other and for an unknown activation.
    """

    def __init__(self, layers: Sequence[Layer | tuple[Matrix, Sequence[float], str]]) -> None:
        self.layers = tuple(_checked(Layer(*layer)) for layer in layers)
        if not self.layers:
            raise ValueError("a network has at least one layer")
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if len(before.bias) != len(after.weights):
                raise ValueError(f"a layer of {len(before.bias)} outputs is before one of {len(after.weights)} inputs")
        self.prepared: dict[str, Any] = {}  # what an engine made of it

    @property
    def inputs(self) -> int:
        """The number of values in a row."""
        return len(self.layers[0].weights)


class OnnxModel:
    """A model in ONNX format, from a file or its bytes: one input with a row for each case. For ONNX Runtime only."""

    def __init__(self, source: bytes | str | PathLike[str]) -> None:
        self.source = source if isinstance(source, bytes) else fspath(source)
        self.prepared: dict[str, Any] = {}


def _checked(layer: Layer) -> Layer:
    weights = [[float(each) for each in row] for row in layer.weights]
    bias = [float(each) for each in layer.bias]
    if not weights or not bias or any(len(row) != len(bias) for row in weights):
        raise ValueError(f"each row of the weights has {len(bias)} numbers, one for each number of the bias")
    if layer.activation not in ACTIVATIONS:
        raise ValueError(f"the activation is one of {', '.join(ACTIVATIONS)}, not {layer.activation!r}")
    return Layer(weights, bias, layer.activation)
