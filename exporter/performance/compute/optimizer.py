"""Chooses the engine of an operation, measures it, and compares the engines."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from itertools import count
from typing import Any, NamedTuple

from exporter.instrument import MetricsCollector, get_metrics_collector
from exporter.performance.compute import plain
from exporter.performance.compute.models import DenseNetwork, Layer, OnnxModel
from exporter.performance.notices import log

_MODULES = {
    "numpy": "exporter.performance.compute.numpy_engine",
    "numba": "exporter.performance.compute.numba_engine",
    "onnxruntime": "exporter.performance.compute.onnxruntime_engine",
}
ENGINES = ("plain", *_MODULES)
# By measurement; see the table in docs/performance.md.
_PREFERRED = ("numba", "numpy", "plain")
_PREFERRED_OF = {"predict": ("onnxruntime", "numpy", "numba", "plain")}  # larger networks gain by BLAS
INSTALL = "pip install 'marketdata-exporter[compute]'"
BENCHMARK_SECONDS, BENCHMARK_ROUNDS = 0.5, 3


class Comparison(NamedTuple):
    """What one engine took for an operation, and how many times faster than plain Python it is."""

    operation: str
    engine: str
    seconds: float
    factor: float


class PerformanceOptimizer:
    """Operations on arrays and inference by the fastest engine that is installed, or by `engine`.

    An engine that is not installed, or does not have an operation, is replaced by the next one with one line in the
    log. Numba compiles an operation at its first call: `warm_up` does it before. Plain Python returns lists, the other
    engines arrays of NumPy; the numbers are the same within 1e-9.
    """

    operations = tuple(plain.OPERATIONS)

    def __init__(
        self, engine: str | None = None, *, batch_size: int = 4096, collector: MetricsCollector | None = None
    ) -> None:
        if engine is not None and engine not in ENGINES:
            raise ValueError(f"engine is one of {', '.join(ENGINES)}, not {engine!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size is at least 1, not {batch_size!r}")
        self._engine = engine
        self._batch_size = batch_size
        self._collector = collector or get_metrics_collector()
        self._loaded: dict[str, dict[str, Callable[..., Any]]] = {"plain": plain.OPERATIONS}
        self._missing: dict[str, str] = {}
        self._chosen: dict[str, str] = {}

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that are installed."""
        return tuple(engine for engine in ENGINES if self._load(engine))

    def engine_of(self, operation: str) -> str:
        """Return the engine that an operation is done with; raise `ValueError` for an unknown one."""
        if operation not in self._chosen:
            if operation not in self.operations:
                raise ValueError(f"the operation is one of {', '.join(self.operations)}, not {operation!r}")
            self._chosen[operation] = self._choose(operation)
        return self._chosen[operation]

    def compute(self, operation: str, *args: Any, **options: Any) -> Any:
        """Do one of `operations` with its arguments, such as `compute("moving_average", prices, window=20)`.

        Raises `ValueError` for an unknown operation and for arguments that do not fit.
        """
        if operation == "predict":
            return self.predict(*args, **options)
        _check(operation, [each for each in (*args, *options.values()) if isinstance(each, int | float)])
        engine = self.engine_of(operation)
        items = len(args[0] if args else next(iter(options.values())))
        return self._measured(operation, engine, items, lambda: self._load(engine)[operation](*args, **options))

    async def acompute(self, operation: str, *args: Any, **options: Any) -> Any:
        """Do the same in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.compute, operation, *args, **options)

    def predict(self, model: DenseNetwork | OnnxModel, rows: Any) -> Any:
        """Return the outputs of a model for each row, in batches of `batch_size` rows.

        Raises `ImportError` for a model in ONNX format without ONNX Runtime, `ValueError` for rows that do not fit.
        """
        engine = self.engine_of("predict")
        if isinstance(model, OnnxModel):
            engine = "onnxruntime"
            if not self._load(engine):
                raise ImportError(f"a model in ONNX format needs onnxruntime: {INSTALL}")
        run = self._load(engine)["predict"]
        return self._measured("predict", engine, len(rows), lambda: self._batches(run, model, rows))

    async def apredict(self, model: DenseNetwork | OnnxModel, rows: Any) -> Any:
        """Do the same in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.predict, model, rows)

    def warm_up(self) -> None:
        """Load the engines and do each operation once, so that nothing is loaded or compiled later."""
        for operation, arguments in _examples(64).items():
            self._load(self.engine_of(operation))[operation](*arguments)

    def benchmark(self, size: int = 100_000) -> list[Comparison]:
        """Return what each installed engine takes for each operation on `size` numbers, beside plain Python.

        `predict` gets a hundredth of them as rows. Plain Python gets lists, the others arrays. The least of several
        rounds counts, after one that does not.
        """
        found = []
        for operation, arguments in _examples(size).items():
            runs = {
                engine: partial(self._load(engine)[operation], *_natural(engine, arguments))
                for engine in ENGINES
                if operation in self._load(engine)
            }
            spent = _least_seconds(runs)
            found += [
                Comparison(operation, engine, seconds, spent["plain"] / seconds) for engine, seconds in spent.items()
            ]
        return found

    def _choose(self, operation: str) -> str:
        usual = next(each for each in _PREFERRED_OF.get(operation, _PREFERRED) if operation in self._load(each))
        if self._engine is None or self._engine == usual:
            return usual
        if operation in self._load(self._engine):
            return self._engine
        why = self._missing.get(self._engine, f"{self._engine} does not have it")
        log.warning("operation %s is done by %s: %s", operation, usual, why)
        return usual

    def _load(self, engine: str) -> dict[str, Callable[..., Any]]:
        """Return the operations of an engine; none if it is not installed."""
        if engine not in self._loaded:
            try:
                self._loaded[engine] = import_module(_MODULES[engine]).OPERATIONS
            except ImportError as error:
                self._loaded[engine] = {}
                self._missing[engine] = f"{error}: {INSTALL}"
        return self._loaded[engine]

    def _batches(self, run: Callable[..., Any], model: DenseNetwork | OnnxModel, rows: Any) -> Any:
        size = self._batch_size
        if len(rows) <= size:
            return run(model, rows)
        parts = [run(model, rows[begin : begin + size]) for begin in range(0, len(rows), size)]
        if isinstance(parts[0], list):
            return [row for part in parts for row in part]
        return import_module("numpy").concatenate(parts)

    def _measured(self, operation: str, engine: str, items: int, run: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        found = run()
        labels = {"operation": operation, "engine": engine}
        duration = self._collector.summary("program_compute_duration_seconds", "Time of an operation.")
        duration.observe(time.perf_counter() - begin, labels)
        self._collector.counter("program_compute_items_total", "Numbers or rows of operations.").increment(
            items, labels
        )
        return found


def _check(operation: str, numbers: Sequence[float]) -> None:
    """Raise `ValueError` for a window or span that is no whole number, or too small."""
    least = 2 if operation == "moving_deviation" else 1
    if any(isinstance(each, float) or each < least for each in numbers):
        raise ValueError(f"the window or span of {operation} is a whole number of at least {least}, not {numbers}")


def _examples(size: int) -> dict[str, tuple[Any, ...]]:
    """Return arguments for each operation: a random walk, volumes, and a network of 16, 32 and 1."""
    chance = random.Random(1)  # noqa: S311, the same numbers in each run
    walk, volumes = [100.0], [chance.random() for _ in range(size)]
    for _ in range(size - 1):
        walk.append(walk[-1] * (1 + chance.gauss(0, 1e-3)))
    widths = (16, 32, 1)
    layers = [
        Layer([[chance.gauss(0, 0.3) for _ in range(after)] for _ in range(before)], [0.1] * after, activation)
        for before, after, activation in zip(widths, widths[1:], ("relu", "sigmoid"), strict=False)
    ]
    rows = [[chance.gauss(0, 1) for _ in range(widths[0])] for _ in range(max(1, size // 100))]
    return {
        "returns": (walk,),
        "moving_average": (walk, 20),
        "moving_deviation": (walk, 20),
        "exponential_average": (walk, 20),
        "vwap": (walk, volumes, 20),
        "predict": (DenseNetwork(layers), rows),
    }


def _natural(engine: str, arguments: Sequence[Any]) -> list[Any]:
    """Return arguments as a program has them that uses this engine."""
    if engine == "plain":
        return list(arguments)
    numpy = import_module("numpy")
    return [numpy.array(each) if isinstance(each, list) else each for each in arguments]


def _least_seconds(runs: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return what each engine takes at least, of rounds in which one runs after the other."""
    for run in runs.values():
        run()
    least, until = dict.fromkeys(runs, float("inf")), time.perf_counter() + BENCHMARK_SECONDS
    for number in count():
        if number >= BENCHMARK_ROUNDS and time.perf_counter() > until:
            return least
        for engine, run in runs.items():
            begin = time.perf_counter()
            run()
            least[engine] = min(least[engine], time.perf_counter() - begin)
    return least
