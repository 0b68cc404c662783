"""The memory that another process may use beside this one."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Reserved for the growth of this process.
RESERVE_BYTES = 32 * 1024**2
# The limit of a container: control groups of version 2 and version 1.
_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_MACHINE = Path("/proc/meminfo")
_OWN = Path("/proc/self/statm")


def room() -> int:
    """Return how many bytes another process may use, within the limits of this process and the free memory."""
    own = _pages(_OWN) * resource.getpagesize()
    return max(0, min([limit - own for limit in _limits()] + _left()) - RESERVE_BYTES)


def _limits() -> Iterator[int]:
    for which in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        soft, _ = resource.getrlimit(which)
        if soft != resource.RLIM_INFINITY:
            yield soft
    for file in _GROUPS:
        with suppress(OSError, ValueError):
            yield int(file.read_text())  # "max" without a limit


def _left() -> list[int]:
    """Return the available memory of the machine in bytes, in a list of one."""
    with suppress(OSError, ValueError):
        for line in _MACHINE.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return [int(value.split()[0]) * 1024]
    return [os.sysconf("SC_PHYS_PAGES") * resource.getpagesize()]


def _pages(file: Path) -> int:
    """Return how many pages of this process are in memory, 0 if unknown."""
    try:
        return int(file.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
