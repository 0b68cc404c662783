"""An order service whose calls are measured by decorators; a returned failure counts as an error."""

import asyncio
from dataclasses import dataclass, field

from exporter.instrument import (
    CounterMetric,
    Failure,
    PerformanceMonitored,
    Result,
    Success,
    TimingMetric,
    get_metrics_collector,
    record_counter,
    record_gauge,
)


class Rejected(Exception):
    """An order that is not accepted."""


@dataclass
class OrderService:
    """Orders for products in stock."""

    stock: dict[str, int] = field(default_factory=dict)

    @PerformanceMonitored(
        timing_metric=TimingMetric("order_create_seconds", "Time to create an order."),
        counter_metric=CounterMetric("order_create_total", "Orders to create."),
        error_counter=CounterMetric("order_create_errors_total", "Orders that were not created."),
        labels={"service": "order"},
    )
    async def create(self, product: str, quantity: int) -> Result[int, Rejected]:
        """Return what remains in stock."""
        await asyncio.sleep(0)
        if self.stock.get(product, 0) < quantity:
            return Failure(Rejected(f"not enough of {product}"))
        self.stock[product] -= quantity
        record_counter("order_units_total", quantity, {"product": product}, "Units that were ordered.")
        record_gauge("inventory_level", self.stock[product], {"product": product}, "Units in stock.")
        return Success(self.stock[product])

    @PerformanceMonitored(
        timing_metric=TimingMetric("order_price_seconds", "Time to compute a price."), labels={"service": "order"}
    )
    def price(self, quantity: int) -> float:
        """Return the price of an order."""
        return 9.99 * quantity


async def main() -> None:
    """Create some orders."""
    service = OrderService({"book": 3})
    for quantity in (1, 2, 1):
        result = await service.create("book", quantity)
        print(result.unwrap() if result.is_success() else result.unwrap_err())
    print(f"{service.price(3):.2f}")
    for metric in await get_metrics_collector().get_all_metrics():
        if metric.metric_type == "counter" and metric.name.startswith("order"):
            print(metric.name, dict(metric.labels), metric.value)


if __name__ == "__main__":
    asyncio.run(main())
