"""A figure that may be unknown; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

NAMED = 3


class Figure(NamedTuple):
    """A number, or None with the reason why it is unknown. Unknown is never 0."""

    value: float | None
    reason: str = ""

    @property
    def is_known(self) -> bool:
        """Whether there is a number."""
        return self.value is not None


def unknown(reason: str) -> Figure:
    """Return a figure without a number."""
    return Figure(None, reason)


def without_price(symbols: Iterable[str]) -> Figure:
    """Return the unknown figure of something that needs the prices of these symbols."""
    named = sorted(symbols)
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return unknown(f"no fresh price of {', '.join(named[:NAMED])}{more}")


def too_few(count: int, minimum: int) -> Figure:
    """Return the unknown figure of something that needs more returns."""
    return unknown(f"{count} of {minimum} returns")
