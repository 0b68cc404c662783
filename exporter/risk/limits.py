"""Limits on portfolios with hysteresis; pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from exporter.config.risk_schema import LimitKind, RiskLimits
from exporter.risk.figure import Figure, unknown
from exporter.risk.symbols import split

NO_FIGURE = unknown("not given")


class LimitedFigures(NamedTuple):
    """The figures of a portfolio that have limits; `exposures` are those of symbols, absolute and None if unknown."""

    exposures: Mapping[str, float | None]
    total: Figure = NO_FIGURE
    value: Figure = NO_FIGURE
    daily_loss: Figure = NO_FIGURE
    leverage: Figure = NO_FIGURE


class LimitKey(NamedTuple):
    """A limit of a portfolio; `symbol` is empty unless it is one on the position of a symbol."""

    kind: LimitKind
    symbol: str = ""


class Breach(NamedTuple):
    """A breach that lasts: the number of this limit's breach from 1 on, and its beginning in Unix milliseconds."""

    number: int
    since_ms: int


class LimitChange(NamedTuple):
    """A breach that has begun or was cleared; `limit` and `value` are None for a limit that is no longer configured."""

    key: LimitKey
    is_breached: bool
    number: int
    since_ms: int
    time_ms: int
    value: float | None
    limit: float | None


def is_beyond(value: float, limit: float, is_least: bool) -> bool:
    """Return whether a figure is worse than its limit, which is the greatest or the least allowed one."""
    return value < limit if is_least else value > limit


def is_well_within(value: float, limit: float, hysteresis: float, is_least: bool) -> bool:
    """Return whether a figure is better than its limit by the share `hysteresis` of the limit, or by more."""
    distance = hysteresis * limit
    return value >= limit + distance if is_least else value <= limit - distance


class LimitMonitor:
    """The limits of one portfolio: each breach is reported once, and cleared once.

    A breach begins when the figure is worse than the limit, and is cleared once it is better than the limit by the
    share `hysteresis`. An unknown figure changes nothing. `breaches` and `numbers` are the state, from which a
    successor goes on.
    """

    def __init__(
        self,
        limits: RiskLimits,
        breaches: Mapping[LimitKey, Breach] | None = None,
        numbers: Mapping[LimitKey, int] | None = None,
    ) -> None:
        self.limits = limits
        self.breaches = dict(breaches or {})
        self.numbers = dict(numbers or {})

    def check(self, figures: LimitedFigures, now_ms: int) -> list[LimitChange]:
        """Return the breaches that begin and that are cleared with these figures."""
        changes, limited = [], dict[LimitKey, float]()
        for key, value, limit in self._limited(figures):
            limited[key] = limit
            if value is None:
                continue
            is_least = key.kind is LimitKind.VALUE
            if key not in self.breaches and is_beyond(value, limit, is_least):
                changes.append(self._begin(key, value, limit, now_ms))
            elif key in self.breaches and is_well_within(value, limit, self.limits.hysteresis, is_least):
                changes.append(self._clear(key, value, limit, now_ms))
        for key in self.breaches.keys() - limited.keys():
            changes.append(self._clear(key, None, None, now_ms))
        return changes

    def _limited(self, figures: LimitedFigures) -> Iterator[tuple[LimitKey, float | None, float]]:
        """Yield each figure that has a limit, with it."""
        limits = self.limits
        for kind in LimitKind:
            if kind is not LimitKind.POSITION and (limit := getattr(limits, kind)) is not None:
                yield LimitKey(kind), getattr(figures, kind).value, limit
        if limits.position is None and not limits.positions:
            return
        breached = {key.symbol for key in self.breaches if key.kind is LimitKind.POSITION}
        sold = dict.fromkeys(breached - figures.exposures.keys(), 0.0)  # nothing is held of these any longer
        for symbol, exposure in {**figures.exposures, **sold}.items():
            if (limit := self._position_limit(symbol)) < math.inf:
                yield LimitKey(LimitKind.POSITION, symbol), exposure, limit

    def _position_limit(self, symbol: str) -> float:
        """Return the limit on a position: that of the symbol with its feed, of the symbol alone, or of all."""
        limits, (_, name) = self.limits, split(symbol)
        default = math.inf if limits.position is None else limits.position
        return limits.positions.get(symbol, limits.positions.get(name, default))

    def _begin(self, key: LimitKey, value: float, limit: float, now_ms: int) -> LimitChange:
        number = self.numbers[key] = self.numbers.get(key, 0) + 1
        self.breaches[key] = Breach(number, now_ms)
        return LimitChange(key, True, number, now_ms, now_ms, value, limit)

    def _clear(self, key: LimitKey, value: float | None, limit: float | None, now_ms: int) -> LimitChange:
        number, since_ms = self.breaches.pop(key)
        return LimitChange(key, False, number, since_ms, now_ms, value, limit)
