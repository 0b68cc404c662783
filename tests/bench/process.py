"""What the kernel knows of a process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple


class Memory(NamedTuple):
    """Bytes in memory, now and at most so far."""

    now: int
    most: int


def memory(pid: int | str) -> Memory:
    """Return how much memory a process holds."""
    # Not getrusage: there a child begins with the most that its parent held.
    status = Path(f"/proc/{pid}/status").read_text()
    now, most = (int(status.partition(f"{name}:")[2].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return Memory(now, most)


def processor_seconds(pid: int) -> float:
    """Return the processor time of all threads of a process so far, those that have ended included."""
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) gives
