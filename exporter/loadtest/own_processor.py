"""The processor time of the processes that send, while a step of a stress test lasts."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from exporter.loadtest.cost import BUSY_CORES
from exporter.loadtest.resources import OWN


class _Spent(NamedTuple):
    """Seconds that the threads of a process have run, and have waited for a processor."""

    ran: float
    waited: float


class OwnProcessor:
    """Processes by name, from now on; this one if there are none."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._begun, self._at = {}, time.monotonic()
        for name, pid in (processes or {OWN: os.getpid()}).items():
            self._begun[name] = pid, _spent(pid)

    def limit(self) -> str:
        """Return which process needed all that an interpreter can have, if one did; else nothing.

        What it waits for a processor that other programs have counts: without them it would have run.
        """
        seconds = max(1e-9, time.monotonic() - self._at)
        for name, (pid, before) in self._begun.items():
            now = _spent(pid)
            ran, waited = (now.ran - before.ran) / seconds, (now.waited - before.waited) / seconds
            if ran + waited >= BUSY_CORES:
                waits = ", and waited for more of the processors" if ran < BUSY_CORES else ""
                return f"{name} used {ran:.2f} cores{waits}"
        return ""


def _spent(pid: int) -> _Spent:
    """Return what a process has spent until now; nothing where the system does not show it."""
    ran = waited = 0.0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):  # a thread that has just ended
            spent = task.read_text().split()
            ran, waited = ran + int(spent[0]) / 1e9, waited + int(spent[1]) / 1e9
    return _Spent(ran, waited)
