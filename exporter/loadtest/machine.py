"""The machine of a load test, for its report."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

from exporter.loadtest.results import Machine
from exporter.performance import limits
from exporter.runtime.version import __version__

_MODEL = "model name"


def machine() -> Machine:
    """Return the machine that this process runs on."""
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=limits.cores(),
        memory_bytes=limits.memory_limit() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
        version=__version__,
    )


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(_MODEL):
                return line.partition(":")[2].strip()
    return platform.machine()
