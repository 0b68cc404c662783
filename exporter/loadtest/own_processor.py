"""The processor time of the processes that send, while a step of a stress test lasts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from exporter.loadtest.cost import BUSY_CORES
from exporter.loadtest.resources import OWN
from exporter.performance import limits
from exporter.performance.extras import require
from exporter.performance.machine import Reading, reader


class OwnProcessor:
    """Processes by name, from now on; this one if there are none. Raises `ImportError` without psutil."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._gone = require("psutil", "loadtest", "loadtest").Error
        self._begun: dict[str, tuple[Callable[[], Reading], Reading]] = {}
        for name, pid in (processes or {OWN: os.getpid()}).items():
            try:
                read = reader("loadtest", pid, "loadtest")
                self._begun[name] = read, read()
            except self._gone:
                continue

    def limit(self) -> str:
        """Return which process used all that an interpreter can, if one did; else nothing."""
        used = {name: self._cores(*begun) for name, begun in self._begun.items()}
        busiest = max(used, key=lambda name: used[name], default="")
        # A container may have less than a core.
        if not busiest or used[busiest] < BUSY_CORES * min(1.0, limits.cores()):
            return ""
        return f"{busiest} used {used[busiest]:.2f} cores"

    def _cores(self, read: Callable[[], Reading], before: Reading) -> float:
        try:
            now = read()
        except self._gone:
            return 0.0
        return (now.cpu_seconds - before.cpu_seconds) / max(1e-9, now.at - before.at)
