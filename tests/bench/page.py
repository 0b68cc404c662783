"""`python -m tests.bench.page [FEEDS]`: what the live page costs with so many feeds (1000), without a broker.

The memory of a full history; the processor time of a sample, which is taken every ten seconds, and of a step of all
streams, taken once a second while there are any; the longest time for which either holds the loop up; and the bytes of
the messages.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any
from zlib import compress

from exporter.config.schema import Config
from exporter.model import EventType, FeedKey
from exporter.page.page import LivePage
from exporter.runtime.clock import SystemClock
from exporter.web.responses import GZIP_LEVEL
from tests.support.unrun import UnrunSidecar

SYMBOLS = "ABCDEFGHIJKLMNOPQRST"
SAMPLES = 90
REPEATS = 7
NO_EVENTS: frozenset[EventType] = frozenset()


def main(feeds: int = 1000) -> None:
    """Measure and print."""
    sidecar = UnrunSidecar(Config())
    keys = [FeedKey("region", f"exchange{number}", "ticker") for number in range(feeds)]
    page = LivePage(Config(), sidecar.app.status, SystemClock(), "1")
    read_all(sidecar, keys)
    page.recorder.sample()
    tracemalloc.start()
    begin = tracemalloc.get_traced_memory()[0]
    empty = LivePage(Config(), sidecar.app.status, SystemClock(), "1")
    for _ in range(SAMPLES):
        empty.recorder.sample()
    history = tracemalloc.get_traced_memory()[0] - begin
    watch = page.watch()
    watch.tick(NO_EVENTS, 1.0)
    _, snapshot = watch.snapshot()
    watched = tracemalloc.get_traced_memory()[0] - begin - history
    tracemalloc.stop()
    del empty
    sample, sample_held = least(page.recorder.sample, sidecar)
    still, still_held = least(lambda: watch.tick(NO_EVENTS, 1.0), sidecar)
    busy, busy_held = least(lambda: watch.tick(NO_EVENTS, 1.0), sidecar, lambda: read_all(sidecar, keys))
    read_all(sidecar, keys)
    update = watch.tick(NO_EVENTS, 1.0).update
    print(f"with {feeds:,} feeds")
    show("history", history / 1e3, "KB", f"{history / feeds:.0f} bytes a feed")
    show("state of streams", watched / 1e3, "KB", "while there are any")
    show("sample", sample, "ms", f"every 10 s; holds the loop up for {sample_held:.1f} ms at a time")
    show("step, nothing new", still, "ms", f"holds the loop up for {still_held:.1f} ms at a time")
    show("step, all changed", busy, "ms", f"holds the loop up for {busy_held:.1f} ms at a time")
    show("first message", len(snapshot) / 1e3, "KB", f"{len(compress(snapshot, GZIP_LEVEL)) / 1e3:.0f} KB compressed")
    show("update of all", len(update) / 1e3, "KB", f"{len(compress(update, GZIP_LEVEL)) / 1e3:.0f} KB compressed")


def show(name: str, value: float, unit: str, more: str) -> None:
    """Print a line."""
    print(f"{name:20}{value:10.1f} {unit}  {more}")


def read_all(sidecar: UnrunSidecar, keys: list[FeedKey]) -> None:
    """Read a batch of each feed, one after the other, of different sizes."""
    for key in keys:
        sidecar.now_ms += 1
        sidecar.read(SYMBOLS[: 1 + hash((sidecar.now_ms, key)) % len(SYMBOLS)], 0, key)


def least(
    work: Callable[[], Any], sidecar: UnrunSidecar, prepare: Callable[[], Any] = lambda: None
) -> tuple[float, float]:
    """Return the least processor time of the work, and the least of the longest times that it held the lock, in ms."""
    spent, held = [], []
    for _ in range(REPEATS):
        prepare()
        with holding_times(sidecar) as visits:
            begin = time.process_time()
            work()
            spent.append(time.process_time() - begin)
        held.append(max(visits, default=0.0))
    return min(spent) * 1e3, min(held) * 1e3


@contextmanager
def holding_times(sidecar: UnrunSidecar) -> Any:
    """Collect for how long the lock of the loop is held at a time, in seconds."""
    lock, times, begun = sidecar.app.loop.read_access._lock, [], [0.0]

    class Timed:
        def __enter__(self) -> None:
            lock.__enter__()
            begun[0] = time.perf_counter()

        def __exit__(self, *_: object) -> None:
            times.append(time.perf_counter() - begun[0])
            lock.__exit__()

    sidecar.app.loop.read_access._lock = Timed()  # type: ignore[assignment]
    try:
        yield times
    finally:
        sidecar.app.loop.read_access._lock = lock


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
