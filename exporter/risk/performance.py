"""What portfolios have gained and lost since the day and the observation began; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from exporter.risk.figure import Figure, unknown, without_price
from exporter.risk.measures import Array
from exporter.risk.portfolios import Book


class Progress(NamedTuple):
    """The state of one portfolio, from which another process can go on.

    `value` is the first known value and all profits since then, `peak` the highest of these.
    """

    day: int
    day_profit: float
    value: float | None = None
    peak: float = 0.0
    maximum_drawdown: float = 0.0


class Results(NamedTuple):
    """Profit of the day, and the present and the largest fall from the running peak, as shares of the peak."""

    day_profit: Figure
    drawdown: Figure
    maximum_drawdown: Figure


class Performance:
    """Profits of portfolios by the moves of prices alone.

    What is held moves with the prices from one evaluation to the next; deposits and trades at the price of the moment
    are neither profit nor loss. The move of a symbol without a fresh price counts when it has one again; until then
    the figures of the portfolios that hold it are unknown.
    """

    def __init__(
        self, progress: Mapping[str, Progress] | None = None, marks: Mapping[str, float] | None = None
    ) -> None:
        self.progress = dict(progress or {})
        self.marks = dict(marks or {})
        self._book: Book | None = None

    def update(self, book: Book, prices: Array, day: int) -> dict[str, Results]:
        """Return the results of each portfolio at these prices of `book.symbols`; `day` is a number that grows."""
        profits = self._profits(book, prices)
        known = dict(zip(book.symbols, prices.tolist(), strict=True))
        self.marks = {
            symbol: price if price == price else self.marks[symbol]  # NaN is not equal to itself
            for symbol, price in known.items()
            if price == price or symbol in self.marks
        }
        self._book = book
        self.progress = {
            name: self._advanced(book, row, prices, day, profits.get(name, 0.0)) for row, name in enumerate(book.names)
        }
        return {name: self._results(book, row, prices) for row, name in enumerate(book.names)}

    def _profits(self, book: Book, prices: Array) -> dict[str, float]:
        """Return what the moves since the last evaluation brought to what was held at it."""
        held = self._book or book  # a successor goes on with what is held now
        after = dict(zip(book.symbols, prices.tolist(), strict=True))
        moves = np.array([after.get(each, np.nan) - self.marks.get(each, np.nan) for each in held.symbols], np.float64)
        profits = held.quantities @ np.nan_to_num(moves)
        return dict(zip(held.names, profits.tolist(), strict=True))

    def _advanced(self, book: Book, row: int, prices: Array, day: int, profit: float) -> Progress:
        before = self.progress.get(book.names[row]) or Progress(day, 0.0)
        day_profit = (before.day_profit if before.day == day else 0.0) + profit
        if before.value is None:
            first = book.cash[row] + float(np.nansum(book.quantities[row] * prices))
            is_complete = not book.without_price(row, prices)
            return Progress(day, day_profit, first, first) if is_complete else Progress(day, day_profit)
        value = before.value + profit
        peak = max(before.peak, value)
        fall = 1 - value / peak if peak > 0 else 0.0
        return Progress(day, day_profit, value, peak, max(before.maximum_drawdown, fall))

    def _results(self, book: Book, row: int, prices: Array) -> Results:
        progress = self.progress[book.names[row]]
        if missing := book.without_price(row, prices):
            return Results(*[without_price(missing)] * 3)
        if progress.value is None or progress.peak <= 0:
            falls = unknown("no value above 0")
            return Results(Figure(progress.day_profit), falls, falls)
        fall = Figure(max(0.0, 1 - progress.value / progress.peak))
        return Results(Figure(progress.day_profit), fall, Figure(progress.maximum_drawdown))
