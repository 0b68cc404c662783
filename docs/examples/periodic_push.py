"""A job that pushes its metrics while it runs, to a Pushgateway or a sidecar that takes pushes.

`python periodic_push.py http://127.0.0.1:9091`; with `--thread` without asyncio. The group is deleted at the end.
"""

import asyncio
import sys
import time

from exporter.instrument import MetricsCollector, PushStorage


def collector_for(url: str) -> MetricsCollector:
    """Return a collector that pushes to a gateway."""
    return MetricsCollector(storage=PushStorage(url, "nightly_import", grouping_key={"instance": "worker-1"}))


async def as_task(url: str) -> None:
    """Import rows while a task of the event loop pushes."""
    async with collector_for(url) as collector:
        rows = collector.counter("import_rows_total", "Rows that were imported.")
        collector.push_every(seconds=0.05)
        for _ in range(20):
            await asyncio.sleep(0.01)
            rows.increment(100)


def as_thread(url: str) -> None:
    """Import rows while a thread pushes."""
    with collector_for(url) as collector:
        rows = collector.counter("import_rows_total", "Rows that were imported.")
        collector.push_every(seconds=0.05)
        for _ in range(20):
            time.sleep(0.01)
            rows.increment(100)


if __name__ == "__main__":
    if "--thread" in sys.argv:
        as_thread(sys.argv[1])
    else:
        asyncio.run(as_task(sys.argv[1]))
