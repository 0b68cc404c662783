"""Events of a pipeline: one handler hangs, the others do not notice, and what it loses is counted."""

import asyncio

from exporter.performance import EventBus

TICKS = 5000
prices: list[float] = []


async def remember(price: float) -> None:
    """Keep what came."""
    prices.append(price)


async def store(price: float) -> None:
    """Write to a database that never answers."""
    await asyncio.Event().wait()


async def main() -> None:
    """Publish ticks to both handlers."""
    bus = EventBus()
    bus.subscribe("tick", remember, when_full="wait")
    bus.subscribe("tick", store, queue_capacity=100, time_limit=0.05)
    await bus.start()
    for number in range(TICKS):
        await bus.publish("tick", 100 + number / 100)
    await bus.stop(limit=0.5)
    handlers = bus.get_statistics()["handlers"]
    lost = handlers["store"]["dropped"] + handlers["store"]["timed_out"]
    print(f"{handlers['remember']['handled']} ticks kept, {lost} not stored")


asyncio.run(main())
