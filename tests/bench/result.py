"""What one contestant measured of itself, as a line of JSON on stdout."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from tests.bench.process import memory


class Result(NamedTuple):
    """Cost of `batches` batches: seconds of wall and processor time, of all threads and of the one that loops, bytes.

    `stages` are seconds of wall time, where the contestant knows them.
    """

    batches: int
    wall_seconds: float
    processor_seconds: float
    loop_seconds: float
    memory_bytes: int
    stages: Mapping[str, float] = {}


class Stopwatch:
    """Measures from when it is made, `done` batches having been processed before; the main thread is the loop."""

    def __init__(self, done: int) -> None:
        self._done = done
        self._loop_clock = time.pthread_getcpuclockid(threading.main_thread().ident or 0)
        self._begin = self._now()

    def result(self, done: int) -> Result:
        """Return what it took since then."""
        wall, processor, loop = (now - begin for now, begin in zip(self._now(), self._begin, strict=True))
        return Result(done - self._done, wall, processor, loop, memory("self").most)

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), time.clock_gettime(self._loop_clock)


def report(result: Result) -> None:
    """Print a result for the benchmark that started this process."""
    print(json.dumps(result._asdict()), flush=True)
