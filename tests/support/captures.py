"""Traffic as collectors write it: made up, which is always tested, and recorded, where there are recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

import pytest

from tests.support.made_up import made_up
from tests.support.recordings import NAMES, Capture, recording

MADE_UP = "made-up"

T = TypeVar("T", bound=Callable[..., object])


def each_capture(test: T) -> T:
    """Run the test with the `name` of each capture; those that are missing are skipped when the test asks for them."""
    marked: T = pytest.mark.captures(pytest.mark.parametrize("name", [MADE_UP, *NAMES])(test))
    return marked


def capture(name: str) -> Capture:
    """Return a capture; a recording that is missing skips the test that asks."""
    return made_up() if name == MADE_UP else recording(name)


def captures() -> Iterator[Capture]:
    """Yield all that are there."""
    for name in (MADE_UP, *NAMES):
        with suppress(pytest.skip.Exception):
            yield capture(name)
