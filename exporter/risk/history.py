"""The prices of symbols at regular steps; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from exporter.risk.measures import Array, simple_returns
from exporter.risk.plausibility import PRICE_MAX

# Of a step: how late or early a sample may be.
TOLERANCE = 0.5


class PriceHistory:
    """The last `length` samples of the prices of symbols, `step_ms` apart.

    Memory is bounded: 8 bytes for each symbol and sample. A step without a sample, or without a price, is a gap: no
    return reaches over it, so that each return is that of one step.
    """

    def __init__(self, length: int, step_ms: int, symbols: Iterable[str] = ()) -> None:
        if length < 2 or step_ms < 1:
            raise ValueError(f"a history has at least 2 samples, 1 ms apart; not {length}, {step_ms} ms apart")
        self.step_ms = step_ms
        self._columns: dict[str, int] = {}
        self._samples: Array = np.full((length, 0), np.nan)  # a ring; the next sample comes at `_next`
        self._next = 0
        self._last_ms: int | None = None
        self.hold(symbols)

    @property
    def length(self) -> int:
        """How many samples are kept."""
        return len(self._samples)

    def hold(self, symbols: Iterable[str]) -> None:
        """Keep these symbols only; those that are new have no price before now."""
        wanted = {symbol: column for column, symbol in enumerate(dict.fromkeys(symbols))}
        if wanted.keys() != self._columns.keys():
            samples = np.full((self.length, len(wanted)), np.nan)
            for symbol in wanted.keys() & self._columns.keys():
                samples[:, wanted[symbol]] = self._samples[:, self._columns[symbol]]
            self._columns, self._samples = wanted, samples

    def resize(self, length: int) -> None:
        """Keep so many samples from now on, of those that are there the last."""
        if length != self.length:
            kept = np.roll(self._samples, -self._next, axis=0)[-length:]
            missing = np.full((length - len(kept), kept.shape[1]), np.nan)
            self._samples, self._next = np.concatenate([missing, kept]), 0

    def sample(self, prices: Mapping[str, float], time_ms: int) -> None:
        """Add the prices at a time in Unix milliseconds; a symbol without a price above 0 has a gap.

        A sample that comes less than half a step after the last replaces it. After the clock was set back, or after
        more steps than are kept, the history begins again.
        """
        steps = 1 if self._last_ms is None else self._steps(time_ms - self._last_ms)
        if not 0 <= steps <= self.length:
            self._samples[:] = np.nan
            steps = 1
        for _ in range(steps):
            self._samples[self._next] = np.nan
            self._next = (self._next + 1) % self.length
        self._samples[self._next - 1] = [_price(prices.get(symbol)) for symbol in self._columns]
        if steps or self._last_ms is None:
            self._last_ms = time_ms

    def prices(self, symbols: Iterable[str]) -> Array:
        """Return the samples, the oldest first, with a column for each symbol; NaN where there is no price."""
        found = np.roll(self._samples, -self._next, axis=0)
        columns = [self._columns.get(symbol) for symbol in symbols]
        if columns == list(range(self._samples.shape[1])):
            return found
        missing = np.full(self.length, np.nan)
        chosen = [missing if column is None else found[:, column] for column in columns]
        return np.column_stack(chosen) if chosen else np.empty((self.length, 0))

    def returns(self, symbols: Iterable[str]) -> Array:
        """Return the returns of one step each, the oldest first, with a column for each symbol."""
        return simple_returns(self.prices(symbols))

    def _steps(self, passed_ms: int) -> int:
        """Return how many steps the time is that has passed; -1 if the clock was set back."""
        if passed_ms < -TOLERANCE * self.step_ms:
            return -1
        return max(0, int(passed_ms / self.step_ms + TOLERANCE))


def _price(price: float | None) -> float:
    return price if price is not None and 0 < price <= PRICE_MAX else np.nan
