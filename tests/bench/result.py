"""What one contestant measured of itself, as a line of JSON on stdout."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple


class Result(NamedTuple):
    """Cost of `batches` batches; seconds of wall and processor time (all threads), and the most memory held."""

    batches: int
    wall_seconds: float
    processor_seconds: float
    memory_bytes: int


class Stopwatch:
    """Measures from the first batch on, so that starting up does not count."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._processor = time.process_time()

    def result(self, batches: int) -> Result:
        """Return what it took since then."""
        wall, processor = time.perf_counter() - self._wall, time.process_time() - self._processor
        return Result(batches, wall, processor, _most_memory())


def _most_memory() -> int:
    # Not getrusage: there a child begins with the most that its parent held.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def report(result: Result) -> None:
    """Print a result for the benchmark that started this process."""
    print(json.dumps(result._asdict()), flush=True)
