"""Inference by ONNX Runtime, of networks and of models in ONNX format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike

from exporter.performance.compute.models import DenseNetwork, OnnxModel
from exporter.performance.compute.numpy_engine import matrix
from exporter.performance.compute.onnx_format import onnx_bytes

_TYPES = {"tensor(double)": np.float64, "tensor(float)": np.float32}


def predict(model: DenseNetwork | OnnxModel, rows: ArrayLike) -> Any:
    """Return the first output of a model for each row; raise `ValueError` for a model with another kind of input."""
    session = model.prepared.get("onnxruntime")
    if session is None:
        source = onnx_bytes(model) if isinstance(model, DenseNetwork) else model.source
        session = model.prepared["onnxruntime"] = onnxruntime.InferenceSession(
            source, providers=["CPUExecutionProvider"]
        )
    (given,) = session.get_inputs()
    kind = _TYPES.get(given.type)
    if kind is None:
        raise ValueError(f"the input of a model is of numbers of 32 or 64 bits, not {given.type}")
    array = matrix(rows, model.inputs) if isinstance(model, DenseNetwork) else np.asarray(rows)
    return session.run(None, {given.name: np.ascontiguousarray(array, kind)})[0]


OPERATIONS: dict[str, Callable[..., Any]] = {"predict": predict}
