"""Operations on arrays and inference: every engine gives the numbers of plain Python."""

from __future__ import annotations

import asyncio
import logging
import math
import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector
from exporter.performance import DenseNetwork, Layer, OnnxModel, PerformanceOptimizer
from exporter.performance.compute.models import ACTIVATIONS
from exporter.performance.compute.onnx_format import onnx_bytes
from tests.support.beside import installed

FAST = ("numpy", "numba", "onnxruntime")
few = settings(max_examples=25)
PRICES = st.lists(st.floats(0.01, 1e6), max_size=80)
NUMBERS = st.lists(st.floats(-1e6, 1e6), max_size=80)


@pytest.fixture(scope="module", autouse=True)
def _engines() -> Iterator[None]:
    with installed("compute"):
        yield


def optimizer(engine: str | None = None, **options: Any) -> PerformanceOptimizer:
    return PerformanceOptimizer(engine, collector=MetricsCollector(registry=CollectorRegistry()), **options)


@pytest.fixture(scope="module")
def plain() -> PerformanceOptimizer:
    """Plain Python, which is right."""
    return optimizer("plain")


@pytest.fixture(scope="module", params=["numpy", "numba"])
def fast(request: pytest.FixtureRequest) -> PerformanceOptimizer:
    """An engine for arrays; it compiles each operation once for all tests."""
    return optimizer(request.param)


def same(found: Any, expected: Any) -> None:
    """Assert that numbers are the same within 1e-9 of the largest, NaN at the same places."""
    assert len(found) == len(expected)
    scale = max([abs(each) for each in expected if math.isfinite(each)], default=1.0)
    assert list(map(float, found)) == pytest.approx(list(map(float, expected)), rel=1e-9, abs=1e-9 * scale, nan_ok=True)


# Against the words of the documentation.


def test_returns_are_relative_changes(plain: PerformanceOptimizer) -> None:
    same(plain.compute("returns", [100, 110, 0, 5]), [0.1, -1.0, math.nan])


@few
@given(NUMBERS, st.integers(1, 40))
def test_a_moving_average_is_the_mean_of_the_last_values(
    plain: PerformanceOptimizer, values: list[float], window: int
) -> None:
    found = plain.compute("moving_average", values, window=window)
    expected = [
        statistics.fmean(values[end - window : end]) if end >= window else math.nan for end in range(1, len(values) + 1)
    ]
    same(found, expected)


@few
@given(NUMBERS, st.integers(2, 40))
def test_a_moving_deviation_is_that_of_the_sample(
    plain: PerformanceOptimizer, values: list[float], window: int
) -> None:
    found = plain.compute("moving_deviation", values, window)
    expected = [
        statistics.stdev(values[end - window : end]) if end >= window else math.nan for end in range(1, len(values) + 1)
    ]
    # Of values that are nearly the same, rounding leaves some of their digits.
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-8, nan_ok=True)


def test_an_exponential_average_moves_by_its_share(plain: PerformanceOptimizer) -> None:
    same(plain.compute("exponential_average", [1, 2, 4], span=3), [1, 1.5, 2.75])


def test_prices_are_weighted_by_volume(plain: PerformanceOptimizer) -> None:
    same(plain.compute("vwap", [1, 2, 3, 4], [1, 3, 0, 0], window=2), [math.nan, 1.75, 2, math.nan])


def test_a_network_is_computed_layer_by_layer(plain: PerformanceOptimizer) -> None:
    network = DenseNetwork([([[1, -1], [2, 0]], [0.5, 1], "relu"), ([[1], [1]], [0], "sigmoid")])
    found = plain.predict(network, [[1, 2], [0, 0]])
    same([row[0] for row in found], [1 / (1 + math.exp(-5.5)), 1 / (1 + math.exp(-1.5))])


# Engines beside plain Python.


@few
@given(PRICES)
def test_returns_are_the_same(fast: PerformanceOptimizer, plain: PerformanceOptimizer, values: list[float]) -> None:
    same(fast.compute("returns", values), plain.compute("returns", values))


@few
@given(NUMBERS, st.integers(1, 40))
@pytest.mark.parametrize("operation", ["moving_average", "moving_deviation", "exponential_average"])
def test_moving_figures_are_the_same(
    fast: PerformanceOptimizer, plain: PerformanceOptimizer, operation: str, values: list[float], window: int
) -> None:
    window += operation == "moving_deviation"
    found, expected = fast.compute(operation, values, window), plain.compute(operation, values, window)
    if operation == "moving_deviation":
        scale = max(map(abs, values), default=1.0)
        assert list(found) == pytest.approx(expected, rel=1e-6, abs=1e-12 * scale, nan_ok=True)
    else:
        same(found, expected)


@few
@given(
    st.lists(st.tuples(st.floats(0.01, 1e6), st.floats(0.001, 1e6) | st.just(0.0)), max_size=100), st.integers(1, 30)
)
def test_weighted_prices_are_the_same(
    fast: PerformanceOptimizer, plain: PerformanceOptimizer, pairs: list[tuple[float, float]], window: int
) -> None:
    prices, volumes = [price for price, _ in pairs], [volume for _, volume in pairs]
    same(fast.compute("vwap", prices, volumes, window), plain.compute("vwap", prices, volumes, window))


WEIGHTS = st.floats(-2, 2).map(lambda value: round(value, 3))


@st.composite
def networks(draw: st.DrawFn) -> DenseNetwork:
    """Networks of up to three layers."""
    widths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    layers = []
    for before, after in pairwise(widths):
        row = st.lists(WEIGHTS, min_size=after, max_size=after)
        weights = draw(st.lists(row, min_size=before, max_size=before))
        layers.append(Layer(weights, draw(row), draw(st.sampled_from(ACTIVATIONS))))
    return DenseNetwork(layers)


@pytest.mark.parametrize("engine", FAST)
@few
@given(st.data())
def test_predictions_are_the_same(plain: PerformanceOptimizer, engine: str, data: st.DataObject) -> None:
    network = data.draw(networks())
    row = st.lists(st.floats(-10, 10), min_size=network.inputs, max_size=network.inputs)
    rows = data.draw(st.lists(row, max_size=7))
    found = optimizer(engine, batch_size=3).predict(network, rows)
    expected = plain.predict(network, rows)
    same([each for row in found for each in row], [each for row in expected for each in row])


@few
@given(networks())
def test_a_network_in_onnx_format_is_valid(network: DenseNetwork) -> None:
    import onnx

    onnx.checker.check_model(onnx.load_model_from_string(onnx_bytes(network)), full_check=True)


def test_a_model_in_onnx_format_is_run_from_bytes_and_from_a_file(tmp_path: Any, plain: PerformanceOptimizer) -> None:
    network = DenseNetwork([([[1.0, 2.0]], [0.5, 0.0], "tanh")])
    file = tmp_path / "model.onnx"
    file.write_bytes(onnx_bytes(network))
    rows = [[0.1], [0.2], [-3.0]]
    expected = plain.predict(network, rows)
    for model in (OnnxModel(file), OnnxModel(str(file)), OnnxModel(file.read_bytes())):
        found = optimizer(batch_size=2).predict(model, rows)
        same([each for row in found for each in row], [each for row in expected for each in row])


# What is chosen, and what is refused.


def test_the_fastest_engine_is_chosen() -> None:
    chosen = optimizer()
    assert chosen.engines == ("plain", "numpy", "numba", "onnxruntime")
    assert {name: chosen.engine_of(name) for name in chosen.operations} == {
        **dict.fromkeys(chosen.operations, "numba"),
        "predict": "onnxruntime",
    }


def test_an_engine_that_lacks_an_operation_is_replaced_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "exporter.performance"):
        asked = optimizer("onnxruntime")
        for _ in range(2):
            same(asked.compute("moving_average", [1, 2], window=2), [math.nan, 1.5])
    assert [record.getMessage() for record in caplog.records] == [
        "operation moving_average is done by numba: onnxruntime does not have it"
    ]


def test_without_the_extra_plain_python_does_it_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import sys

    for name in ("numpy", "numba", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, f"exporter.performance.compute.{name}_engine", raising=False)
    with caplog.at_level(logging.WARNING, "exporter.performance"):
        asked = optimizer("numba")
        assert asked.engines == ("plain",)
        assert asked.compute("moving_average", [1, 3], window=2)[1] == 2.0
    (record,) = caplog.records
    assert record.getMessage().startswith("operation moving_average is done by plain: ")
    assert record.getMessage().endswith(": pip install 'marketdata-exporter[compute]'")


@pytest.mark.parametrize("engine", ["plain", "numpy", "numba"])
@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("unknown", [[1.0]]),
        ("moving_average", [[1.0], 0]),
        ("moving_average", [[1.0], 1.5]),
        ("moving_deviation", [[1.0], 1]),
        ("vwap", [[1.0, 2.0], [1.0], 1]),
    ],
)
def test_arguments_that_do_not_fit_are_refused(engine: str, operation: str, arguments: Sequence[Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        optimizer(engine).compute(operation, *arguments)


@pytest.mark.parametrize("engine", ["plain", *FAST])
def test_rows_that_do_not_fit_are_refused(engine: str) -> None:
    network = DenseNetwork([([[1.0], [1.0]], [0.0], "none")])
    with pytest.raises(ValueError, match=r"."):
        optimizer(engine).predict(network, [[1.0]])


@pytest.mark.parametrize(
    "layers",
    [[], [([], [1.0], "none")], [([[1.0, 2.0]], [1.0], "none")], [([[1.0]], [1.0], "other")],
     [([[1.0]], [1.0], "none"), ([[1.0], [1.0]], [1.0], "none")]],
)  # fmt: skip
def test_layers_that_do_not_fit_are_refused(layers: Any) -> None:
    with pytest.raises(ValueError, match=r"network|row|activation|layer"):
        DenseNetwork(layers)


@pytest.mark.parametrize("arguments", [("other", {}), (None, {"batch_size": 0})])
def test_an_impossible_optimizer_is_refused(arguments: tuple[Any, dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"engine is one of|batch_size"):
        optimizer(arguments[0], **arguments[1])


def test_an_event_loop_goes_on_meanwhile() -> None:
    asked = optimizer("numpy")
    network = DenseNetwork([([[2.0]], [0.0], "none")])

    async def main() -> tuple[Any, Any]:
        return await asyncio.gather(asked.acompute("returns", [1, 2]), asked.apredict(network, [[1]]))

    changes, outputs = asyncio.run(main())
    assert (list(changes), outputs.tolist()) == ([1.0], [[2.0]])


def test_operations_are_measured_by_engine() -> None:
    registry = CollectorRegistry()
    asked = PerformanceOptimizer("numpy", collector=MetricsCollector(registry=registry, strict=True))
    asked.warm_up()
    asked.compute("vwap", [1, 2, 3], [1, 1, 1], window=1)
    asked.predict(DenseNetwork([([[2.0]], [0.0], "none")]), [[1], [2]])
    for operation, items in (("vwap", 3), ("predict", 2)):
        labels = {"operation": operation, "engine": "numpy"}
        assert registry.get_sample_value("program_compute_items_total", labels) == items
        assert registry.get_sample_value("program_compute_duration_seconds_count", labels) == 1


def test_the_benchmark_has_each_engine_of_each_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.performance.compute.optimizer.BENCHMARK_SECONDS", 0.0)
    found = optimizer().benchmark(size=100)
    pairs = {(each.operation, each.engine) for each in found}
    operations = PerformanceOptimizer.operations
    expected = {(operation, engine) for operation in operations for engine in ("plain", "numpy", "numba")}
    assert pairs == expected | {("predict", "onnxruntime")}
    assert all(each.seconds > 0 for each in found)
    assert {each.factor for each in found if each.engine == "plain"} == {1.0}
