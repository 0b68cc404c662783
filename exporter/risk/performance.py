"""What portfolios have gained and lost since the day and the observation began; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from exporter.risk.figure import Figure, unknown, without_price
from exporter.risk.measures import Array
from exporter.risk.portfolios import Book

EMPTY = Book([])


class Progress(NamedTuple):
    """The profits of one portfolio until now.

    `value` is the first known value and all profits since then, `peak` the highest of these.
    """

    day: int
    day_profit: float = 0.0
    value: float | None = None
    peak: float = 0.0
    maximum_drawdown: float = 0.0


class Holding(NamedTuple):
    """A position, and the price to which its profits are counted; None before it had a fresh price."""

    quantity: float
    price: float | None


class Track(NamedTuple):
    """The state of one portfolio, from which another process can go on."""

    progress: Progress
    holdings: dict[str, Holding]


class Results(NamedTuple):
    """Profit of the day, and the present and the largest fall from the running peak, as shares of the peak."""

    day_profit: Figure
    drawdown: Figure
    maximum_drawdown: Figure


class Performance:
    """Profits of portfolios by the moves of prices alone.

    What is held moves with the prices from one evaluation to the next; deposits and trades at the price of the moment
    are neither profit nor loss. The move of a symbol without a fresh price counts when it has one again; until then
    the figures of the portfolios that hold it are unknown. `tracks` are what another process has observed.
    """

    def __init__(self, tracks: Mapping[str, Track] | None = None) -> None:
        self._tracks = dict(tracks or {})
        self._progress = {name: track.progress for name, track in self._tracks.items()}
        self._book = EMPTY
        # What was held at the last evaluation, and the price of each position until which profits are counted.
        self._held: Array = np.zeros((0, 0))
        self._marks: Array = np.zeros((0, 0))

    def update(self, book: Book, prices: Array, day: int) -> dict[str, Results]:
        """Return the results of each portfolio at these prices of `book.symbols`; `day` is a number that grows."""
        self._align(book)
        fresh = np.isfinite(prices)
        profits = np.nan_to_num(self._held * (prices - self._marks)).sum(axis=1).tolist()
        self._marks[:, fresh] = prices[fresh]
        self._held = book.quantities
        self._progress = {
            name: self._advanced(book, row, prices, day, profits[row]) for row, name in enumerate(book.names)
        }
        return {name: self._results(book, row, prices) for row, name in enumerate(book.names)}

    def track(self, name: str) -> Track:
        """Return the state of a portfolio that was evaluated."""
        row = self._book.names.index(name)
        columns = np.flatnonzero(self._book.holds[row])
        marks = {self._book.symbols[column]: float(self._marks[row, column]) for column in columns}
        quantities = self._book.portfolios[name].quantities
        holdings = {
            symbol: Holding(quantities[symbol], mark if mark == mark else None)  # NaN
            for symbol, mark in marks.items()
        }
        return Track(self._progress[name], holdings)

    def _align(self, book: Book) -> None:
        """Arrange what is known by the rows and columns of a book; what is in neither of these is forgotten."""
        if book is self._book:
            return
        before = {name: self.track(name) for name in self._book.names} or self._tracks
        self._book, self._held = book, np.zeros(book.quantities.shape)
        self._marks = np.full(book.quantities.shape, np.nan)
        for row, name in enumerate(book.names):
            holdings = before[name].holdings if name in before else {}
            for symbol in holdings.keys() & book.columns.keys():
                quantity, price = holdings[symbol]
                self._held[row, book.columns[symbol]] = quantity
                self._marks[row, book.columns[symbol]] = np.nan if price is None else price

    def _advanced(self, book: Book, row: int, prices: Array, day: int, profit: float) -> Progress:
        before = self._progress.get(book.names[row], Progress(day))
        if day == before.day - 1:  # the clock or the time zone was set back: the day that has begun goes on
            day = before.day
        day_profit = profit + (before.day_profit if before.day == day else 0.0)
        if before.value is None:
            if book.without_price(row, prices):
                return Progress(day, day_profit)
            first = float(book.cash[row] + np.nansum(book.quantities[row] * prices))
            return Progress(day, day_profit, first, first)
        value = before.value + profit
        peak = max(before.peak, value)
        fall = 1 - value / peak if peak > 0 else 0.0
        return Progress(day, day_profit, value, peak, max(before.maximum_drawdown, fall))

    def _results(self, book: Book, row: int, prices: Array) -> Results:
        progress = self._progress[book.names[row]]
        if missing := book.without_price(row, prices):
            lost = without_price(missing)
            return Results(lost, lost, lost)
        if progress.value is None or progress.peak <= 0:
            falls = unknown("no value above 0")
            return Results(Figure(progress.day_profit), falls, falls)
        fall = Figure(max(0.0, 1 - progress.value / progress.peak))
        return Results(Figure(progress.day_profit), fall, Figure(progress.maximum_drawdown))
