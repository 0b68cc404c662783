"""Long work in steps, so that its caller decides how many of them are taken at a time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

# Takes all steps before it returns.
RunSteps = Callable[[Iterable[object]], None]


def run_all(steps: Iterable[object]) -> None:
    """Take all steps without a break."""
    for _ in steps:
        pass
