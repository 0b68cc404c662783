"""A pipeline from ticks to orders that has 100 ms for each, and measures where they go."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

from exporter.instrument import get_metrics_collector
from exporter.performance import PerformanceSystem

TICKS = 200


class Tick(NamedTuple):
    """The price of an instrument."""

    symbol: str
    price: float


class Pipeline:
    """Turns ticks into signals, and signals into orders."""

    def __init__(self, system: PerformanceSystem) -> None:
        self.latency, self.throughput = system.latency, system.throughput
        self.prices: dict[str, list[float]] = {}
        self.orders = 0

    async def handle(self, ticks: list[Tick]) -> None:
        """Handle a batch of ticks within the budget of the pipeline."""
        async with self.latency.stage("total_pipeline") as whole:
            with self.latency.stage("data_processing"):
                for tick in ticks:
                    self.prices.setdefault(tick.symbol, []).append(tick.price)
            for symbol in {tick.symbol for tick in ticks}:
                if self.latency.measure("signal_generation", self.signal, symbol):
                    await self.latency.measure("order_execution", self.send_order, symbol)
        self.throughput.observe("ticks", len(ticks), whole.milliseconds / 1000)

    def signal(self, symbol: str) -> bool:
        """Return whether the last price is above the mean of the last 20."""
        last = self.prices[symbol][-20:]
        return last[-1] > sum(last) / len(last)

    async def send_order(self, symbol: str) -> None:
        """Send an order; an exchange takes its time."""
        await asyncio.sleep(0.001)
        self.orders += 1


async def main() -> None:
    """Run the pipeline and print what was measured."""
    async with PerformanceSystem() as system:
        system.throughput.set_target("ticks", 100)
        pipeline, made = Pipeline(system), random.Random(7)  # noqa: S311
        for _ in range(TICKS):
            await pipeline.handle([Tick(symbol, made.gauss(100, 1)) for symbol in ("BTC", "ETH")])
        for stage in system.latency.get_stages():
            found = system.latency.get_latency_statistics(stage)
            print(f"{stage}: median {found['median']:.3f} ms, p99 {found['p99']:.3f} ms")
        for advice in system.generate_optimization_recommendations():
            print(f"{advice['kind']} {advice['about']}: {advice['figure']:.3g} {advice['unit']}: {advice['change']}")
    names = {each.name for each in get_metrics_collector().snapshot()}
    print(f"{pipeline.orders} orders; on /metrics: {', '.join(sorted(names & {'program_stage_duration_seconds'}))}")


if __name__ == "__main__":
    asyncio.run(main())
