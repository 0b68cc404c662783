"""Waiting for something for as long as there is progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_POLL_SECONDS = 0.05


def wait_for(
    done: Callable[[], bool],
    seconds: float,
    progress: Callable[[], int] = lambda: 0,
    stopping: threading.Event | None = None,
) -> bool:
    """Return whether it is done before there was no progress for so many seconds, or `stopping` was set."""
    stopping = stopping or threading.Event()
    last, since = progress(), time.monotonic()
    while not done():
        if time.monotonic() - since > seconds or stopping.wait(_POLL_SECONDS):
            return False
        if progress() != last:
            last, since = progress(), time.monotonic()
    return True
