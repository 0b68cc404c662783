"""Latencies one by one. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable


class Trace:
    """Due times and latencies of messages one by one, for a trend; 16 bytes each, so only while `is_kept`."""

    def __init__(self) -> None:
        self.due, self.ms = array("d"), array("d")
        self.is_kept = False

    def add(self, due: float, ms: float) -> None:
        """Append a message."""
        if self.is_kept:
            self.due.append(due)
            self.ms.append(ms)

    def extend(self, due: Iterable[float], ms: Iterable[float]) -> None:
        """Append messages."""
        if self.is_kept:
            self.due.extend(due)
            self.ms.extend(ms)

    def clear(self) -> None:
        """Forget all."""
        self.due, self.ms = array("d"), array("d")
