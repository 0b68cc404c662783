"""Data for a page of the program itself: the present values, and how they came about."""

import asyncio

from exporter.instrument import MemoryStorage, MetricsCollector

storage = MemoryStorage(max_snapshots=100)
collector = MetricsCollector(storage=storage)
queue = collector.gauge("queue_length", "Jobs that wait.")
jobs = collector.counter("jobs_done_total", "Jobs that were done.")
times = collector.summary("job_duration_seconds", "Time of a job.", max_age=600)


def dashboard() -> dict[str, object]:
    """Return what the page shows."""
    statistics = times.get_statistics()
    return {
        "queue": queue.get_value(),
        "jobs": jobs.get_value(),
        "median_seconds": statistics["p50"],
        "slow_seconds": statistics["p99"],
        "queue_history": [(each.timestamp, each.value) for each in storage.history("queue_length")],
    }


async def main() -> None:
    """Do jobs, and store the metrics after each."""
    for waiting in (3, 2, 1, 0):
        queue.set(waiting)
        jobs.increment()
        times.observe(0.1 * (waiting + 1))
        result = await collector.collect_and_store()
        print(f"{result.unwrap()} samples stored")
    shown = dashboard()
    print(shown["queue"], shown["jobs"], f"{shown['median_seconds']:.2f} s")


if __name__ == "__main__":
    asyncio.run(main())
