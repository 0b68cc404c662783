"""Whether more room would help a cache, by what it measured. Pure."""

from __future__ import annotations

from typing import NamedTuple

# Fewer requests are no evidence, and a gain below this is not worth the memory.
LEAST_REQUESTS = 1000
LEAST_GAIN = 0.01


class Window(NamedTuple):
    """Counts since the last advice: requests, those answered without the loader, and evicted keys asked for again."""

    requests: int
    hits: int
    near_misses: int

    def since(self, before: Window) -> Window:
        """Return the differences."""
        return Window(*(now - then for now, then in zip(self, before, strict=True)))


class Advice(NamedTuple):
    """The capacity that is best by the evidence, and the evidence in a sentence."""

    capacity: int
    text: str


def advise(window: Window, capacity: int, max_capacity: int) -> Advice:
    """Return the advice for a capacity, at most twice the present one."""
    if window.requests < LEAST_REQUESTS:
        return Advice(capacity, f"no change: {window.requests} requests are too few, {LEAST_REQUESTS} are needed")
    rate, gain = window.hits / window.requests, window.near_misses / window.requests
    evidence = f"hit rate {rate:.1%}, {gain:.1%} of requests were for one of the last {capacity} evicted keys"
    if gain < LEAST_GAIN:
        return Advice(capacity, f"no change: {evidence}, below {LEAST_GAIN:.0%}")
    if capacity >= max_capacity:
        return Advice(capacity, f"raise max_capacity above {max_capacity}: {evidence}")
    return Advice(
        min(2 * capacity, max_capacity), f"raise the capacity to {min(2 * capacity, max_capacity)}: {evidence}"
    )
