"""What the figures of many portfolios take, without a broker: one evaluation, and one of all scenarios."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from exporter.risk import Book, Evaluation, Market, Performance, Portfolio, StressTestEngine
from exporter.risk.measures import Array
from tests.bench.bench import Bench, Subject
from tests.bench.figures import Cases


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Time each part; the first time of each warms up and does not count."""
    book, market = _market(options.portfolios, options.symbols, options.samples)
    performance = Performance()
    parts: dict[str, Callable[[], object]] = {
        "portfolios": lambda: Evaluation(book, market).portfolios(),
        "portfolios_and_symbols": lambda: _all(book, market),
        "results": lambda: performance.update(book, market.prices, 1),
        "scenarios": lambda: StressTestEngine().run(book, market),
    }
    case = f"{options.portfolios} portfolios, {options.symbols} symbols, {options.samples} samples"
    found: dict[str, list[float]] = {}
    for name, part in parts.items():
        part()
        for _ in range(options.repeats):
            began = time.perf_counter()
            part()
            found.setdefault(f"{name}_ms", []).append(1000 * (time.perf_counter() - began))
    bench.progress("all figures were computed")
    return {case: found}


def _all(book: Book, market: Market) -> None:
    evaluation = Evaluation(book, market)
    evaluation.portfolios()
    evaluation.symbols()


def _market(portfolios: int, symbols: int, samples: int) -> tuple[Book, Market]:
    """Every portfolio holds every symbol."""
    chance = np.random.default_rng(1)
    names = [f"S{number}" for number in range(symbols)]
    quantities = chance.normal(0, 10, (portfolios, symbols))
    book = Book(
        Portfolio(f"P{number}", dict(zip(names, row, strict=True)), cash=1e6)
        for number, row in enumerate(quantities.tolist())
    )
    history: Array = np.asarray(
        100 * np.cumprod(1 + chance.standard_t(4, (samples, symbols)) / 500, axis=0), np.float64
    )
    return book, Market(history[-1], history)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--portfolios", type=int, default=100)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=20)


RISK = Subject("what an evaluation of market risk takes", _add_options, measure)
