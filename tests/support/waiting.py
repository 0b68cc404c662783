"""The only place where tests wait."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_SECONDS = 0.02


def eventually(fn: Callable[[], T], deadline_seconds: float = 10.0, message: str = "no truthy result") -> T:
    """The first truthy result of `fn`, which is called until then; an assertion that fails in it counts as falsy.

    After the deadline an AssertionError tells the last of these; every other exception ends the wait at once.
    """
    end = time.monotonic() + deadline_seconds
    while True:
        cause = None
        try:
            if result := fn():
                return result
            last = f"the last result was {result!r}"
        except AssertionError as error:
            last, cause = f"the last failure was {error}", error
        if time.monotonic() > end:
            raise AssertionError(f"{message} within {deadline_seconds:g} s; {last}") from cause
        time.sleep(PAUSE_SECONDS)
