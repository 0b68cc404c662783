"""What a load needs, on paper: from what one batch costs."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from tests.bench.figures import markdown

LOADS = (10_000_000, 100_000_000)
# How much of a core a sidecar may need on average: the rest is for bursts and for catching up.
BUSY = 0.6
MESSAGE_BYTES = 130
EVENT_BYTES = 300
# A partition more or less must not be a sidecar more or less.
PARTITIONS_A_SIDECAR = 2


def sizing(costs: Mapping[int, float]) -> str:
    """A table for each load and size of batches, `costs` being what a batch of a size takes, in µs."""
    head = ["messages/s", "a batch", "batches/s", "c", "cores", "sidecars", "partitions", "input MB/s", "events MB/s"]
    return markdown([head, *(_row(load, size, cost) for load in LOADS for size, cost in costs.items())])


def _row(load: int, size: int, cost_us: float) -> list[str]:
    batches = load / size
    cores = batches * cost_us / 1e6
    sidecars = ceil(round(cores / BUSY, 6))
    traffic = load * MESSAGE_BYTES / 1e6, batches * EVENT_BYTES / 1e6
    return [
        f"{load:,}",
        str(size),
        f"{batches:,.0f}",
        f"{cost_us:.0f} µs",
        f"{cores:.1f}",
        f"{sidecars:,}",
        f"{sidecars * PARTITIONS_A_SIDECAR:,}",
        *(f"{bytes_:,.0f}" for bytes_ in traffic),
    ]
