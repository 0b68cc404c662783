"""How many times faster than plain Python each engine is, in one run and without a broker."""

from __future__ import annotations

import argparse

from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector
from exporter.performance import PerformanceOptimizer
from tests.bench.bench import Bench, Subject
from tests.bench.figures import Cases
from tests.support.beside import installed


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Run the benchmark of `PerformanceOptimizer`; a figure for each engine, the times of plain Python."""
    cases: Cases = {}
    with installed("compute"):
        optimizer = PerformanceOptimizer(collector=MetricsCollector(registry=CollectorRegistry()))
        for _ in range(options.repeats):
            for each in optimizer.benchmark(options.size):
                case = cases.setdefault(each.operation, {"plain_ms": []})
                if each.engine == "plain":
                    case["plain_ms"].append(1000 * each.seconds)
                else:
                    case.setdefault(f"{each.engine}_factor", []).append(each.factor)
            bench.progress("each engine did each operation")
    return cases


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, default=100_000, help="numbers of an array; a hundredth of them are rows")


COMPUTE = Subject("the engines of PerformanceOptimizer beside plain Python", _add_options, measure)
