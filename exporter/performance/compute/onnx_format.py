"""Writes a network in ONNX format: the few messages of its protobuf that this takes. Pure.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto has the numbers of the fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from struct import pack

from exporter.performance.compute.models import DenseNetwork

IR_VERSION, OPSET = 8, 13
DOUBLE = 11
_OPERATORS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


def onnx_bytes(model: DenseNetwork) -> bytes:
    """Return a model with the input `rows` and the output `outputs`, in numbers of 64 bits."""
    nodes, tensors, name = [], [], "rows"
    for number, layer in enumerate(model.layers):
        weights, bias, made = f"weights{number}", f"bias{number}", f"sums{number}"
        tensors += [
            _tensor(weights, [len(layer.weights), len(layer.bias)], list(chain(*layer.weights))),
            _tensor(bias, [len(layer.bias)], layer.bias),
        ]
        nodes.append(_node("Gemm", [name, weights, bias], made))
        name = made
        if layer.activation in _OPERATORS:
            name = f"active{number}"
            nodes.append(_node(_OPERATORS[layer.activation], [made], name))
    nodes.append(_node("Identity", [name], "outputs"))
    graph = b"".join([_field(1, node) for node in nodes]) + _field(2, b"network")
    graph += b"".join([_field(5, tensor) for tensor in tensors])
    graph += _field(11, _value("rows", model.inputs)) + _field(12, _value("outputs", len(model.layers[-1].bias)))
    return _number(1, IR_VERSION) + _field(8, _number(2, OPSET)) + _field(7, graph)


def _node(operator: str, inputs: Sequence[str], output: str) -> bytes:
    names = b"".join([_field(1, name.encode()) for name in inputs])
    return names + _field(2, output.encode()) + _field(4, operator.encode())


def _tensor(name: str, shape: Sequence[int], values: Sequence[float]) -> bytes:
    sizes = b"".join([_number(1, size) for size in shape])
    return sizes + _number(2, DOUBLE) + _field(8, name.encode()) + _field(9, pack(f"<{len(values)}d", *values))


def _value(name: str, width: int) -> bytes:
    """Return the description of a matrix with any number of rows."""
    shape = _field(1, _field(2, b"n")) + _field(1, _number(1, width))
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, DOUBLE) + _field(2, shape)))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
