"""How many events a second an event bus takes while one of its handlers hangs. Without a broker."""

from __future__ import annotations

import argparse
import asyncio
import time

from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector
from exporter.performance import EventBus
from tests.bench.bench import Bench, Subject
from tests.bench.figures import Cases, quantile

EVENTS = 200_000
PACED = 50_000
SECONDS = 3
TURN_SECONDS = 0.005
CASES = {"two handlers": False, "two handlers, and one that hangs": True}


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Publish at full speed, and 50,000 events a second."""
    cases: Cases = {}
    for _ in range(options.repeats):
        for name, hangs in CASES.items():
            for pace in (0, PACED):
                found = asyncio.run(_run(hangs, pace))
                title = f"{name}, {f'{pace:,}/s' if pace else 'full speed'}"
                case = cases.setdefault(title, {figure: [] for figure in found})
                for figure, value in found.items():
                    case[figure].append(value)
        bench.progress("events were published")
    return cases


async def _run(hangs: bool, pace: int) -> dict[str, float]:
    bus = EventBus(collector=MetricsCollector(registry=CollectorRegistry()))
    delays: list[float] = []

    async def count(published: float) -> None:
        delays.append(time.perf_counter() - published)

    async def other(published: float) -> None:
        pass

    async def hang(published: float) -> None:
        await asyncio.Event().wait()

    bus.subscribe("tick", count, name="count", queue_capacity=10_000)
    bus.subscribe("tick", other, name="other", queue_capacity=10_000)
    if hangs:
        bus.subscribe("tick", hang, name="hang", time_limit=0.5)
    await bus.start()
    begin, spent = time.perf_counter(), time.process_time()
    number = await (_publish_paced(bus, pace) if pace else _publish(bus))
    seconds, spent = time.perf_counter() - begin, time.process_time() - spent
    await bus.stop(1.0)
    handlers = bus.get_statistics()["handlers"]
    return {
        "events_per_second": number / seconds,
        "event_us": spent / number * 1e6,
        "lost_by_others": handlers["count"]["dropped"] + handlers["other"]["dropped"],
        "delay_p99_ms": 1000 * quantile(delays, 0.99),
    }


async def _publish(bus: EventBus) -> int:
    for _ in range(EVENTS):
        await bus.publish("tick", time.perf_counter())
    return EVENTS


async def _publish_paced(bus: EventBus, pace: int) -> int:
    """Publish what is due, every 5 ms."""
    begin, number = time.perf_counter(), 0
    while number < pace * SECONDS:
        due = min(pace * SECONDS, int((time.perf_counter() - begin) * pace))
        for _ in range(number, due):
            await bus.publish("tick", time.perf_counter())
        number = max(number, due)
        await asyncio.sleep(TURN_SECONDS)
    return number


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=3)


BUS = Subject("how many events a bus takes while a handler hangs", _add_options, measure)
