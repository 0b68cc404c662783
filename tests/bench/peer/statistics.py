"""What each of the programs keeps and writes: histograms of the sizes of batches, and an event for each."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

COUNT_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
EFFICIENCY_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
FEED = ("region", "exchange", "request_type")


class Statistics:
    """Histograms of messages, distinct symbols and their reciprocal."""

    def __init__(self) -> None:
        self._sizes = [0] * (len(COUNT_BOUNDS) + 1)
        self._uniques = [0] * (len(COUNT_BOUNDS) + 1)
        self._efficiencies = [0] * (len(EFFICIENCY_BOUNDS) + 1)

    def event(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Count a batch, and return its event; `number` tells which batch it is about."""
        size, unique = len(batch["data"]), len({row["target_currency"] for row in batch["data"]})
        efficiency = 1 / unique if unique else 0.0
        self._sizes[bisect_left(COUNT_BOUNDS, size)] += 1
        self._uniques[bisect_left(COUNT_BOUNDS, unique)] += 1
        self._efficiencies[bisect_left(EFFICIENCY_BOUNDS, efficiency)] += 1
        result = {"size": size, "unique": unique, "efficiency": efficiency, "timestamp_ms": batch["timestamp_ms"]}
        return {**{name: batch[name] for name in FEED}, **result, "number": batch["number"]}
