"""The only place where tests wait."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Each look costs what is looked at: who has waited long looks less often, and ends hardly later.
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.1
PAUSE_RATIO = 0.05  # of the time that has passed


def eventually(fn: Callable[[], T | None], deadline_seconds: float = 10.0, message: str = "no truthy result") -> T:
    """The first truthy result of `fn`, which is called until then; an assertion that fails in it counts as falsy.

    After the deadline an AssertionError tells the last of these; every other exception ends the wait at once.
    """
    began = time.monotonic()
    while True:
        cause = None
        try:
            if result := fn():
                return result
            last = f"the last result was {result!r}"
        except AssertionError as error:
            last, cause = f"the last failure was {error}", error
        passed = time.monotonic() - began
        if passed > deadline_seconds:
            raise AssertionError(f"{message} within {deadline_seconds:g} s; {last}") from cause
        time.sleep(min(max(SHORTEST_PAUSE_SECONDS, passed * PAUSE_RATIO), LONGEST_PAUSE_SECONDS))
