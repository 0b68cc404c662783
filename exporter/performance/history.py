"""The last minutes of one program: a ring of numbers for each of its values. Pure: time is an argument."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from math import isnan, nan

from prometheus_client import Metric

from exporter.performance.counters import ELAPSED, MACHINE, counters, growth
from exporter.performance.figures import Counters, Figures, ratio
from exporter.performance.program import DURATION

# Counters are compared with those of so many pushes before, if they are no older than the seconds.
RECENT_PUSHES, RECENT_SECONDS = 6, 60.0
# Values of one program, each with a ring.
VALUES_MAX = 64
GAUGES = {
    "cpu_ratio": "program_cpu_usage_ratio",
    "memory_bytes": "program_memory_bytes",
    "machine_cpu_ratio": "program_machine_cpu_usage_ratio",
    "machine_memory_ratio": "program_machine_memory_used_ratio",
}

Numbers = list[float | None]


class ProgramHistory:
    """Samples of one program, `capacity` of each value; a sample without a new push repeats the one before."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._rings: dict[str, array[float]] = {}
        self._pushes: deque[tuple[float, Counters]] = deque(maxlen=RECENT_PUSHES + 1)
        self._last: Counters = {}

    def add(self, slot: int, families: Iterable[Metric], pushed_seconds: float) -> None:
        """Add a sample of what was pushed at a time in seconds, at this place of the rings."""
        if not self._pushes or pushed_seconds != self._pushes[-1][0]:
            self._push(Figures(families), pushed_seconds)
        for ring in self._rings.values():
            ring[slot] = nan
        for name, value in self._last.items():
            if name not in self._rings and len(self._rings) < VALUES_MAX:
                self._rings[name] = array("d", [nan]) * self._capacity
            if name in self._rings:
                self._rings[name][slot] = value

    def recent(self, families: Iterable[Metric], pushed_seconds: float) -> Counters:
        """Return what the counters have grown by in the last minute, and `ELAPSED`, the seconds in which they have.

        Before there are two pushes these are the counters since the start, of an unknown time.
        """
        now = counters(Figures(families))
        if len(self._pushes) < 2:
            return now
        begin, before = self._pushes[0]
        return growth(before, now) | {ELAPSED: pushed_seconds - begin}

    def series(self, name: str, slots: Sequence[int]) -> Numbers:
        """Return the samples of a value, oldest first; nothing for a value that there is not."""
        ring = self._rings.get(name)
        return [] if ring is None else [None if isnan(value := ring[slot]) else value for slot in slots]

    def _push(self, figures: Figures, pushed_seconds: float) -> None:
        now = counters(figures)
        before = self._pushes[-1] if self._pushes else None
        gauges = {name: figures.one(metric) for name, metric in GAUGES.items()}
        p95 = figures.by(DURATION, "stage", quantile="0.95")
        self._last = {name: value for name, value in gauges.items() if value is not None}
        self._last |= {f"stage:{name}": value for name, value in p95.items()}
        if before is not None and pushed_seconds > before[0]:
            self._last |= _rates(growth(before[1], now), pushed_seconds - before[0])
        self._pushes.append((pushed_seconds, now))
        while len(self._pushes) > 2 and pushed_seconds - self._pushes[0][0] > RECENT_SECONDS:
            self._pushes.popleft()


def _rates(grown: Counters, seconds: float) -> Counters:
    """Return rates a second, the throughput of operations and the hit rates of caches."""
    rates = {name: grown[name] / seconds for name in MACHINE if name in grown}
    for kind, part, whole in (("operation", "items", "seconds"), ("cache", "hits", "requests")):
        for key in grown:
            name = key.removeprefix(f"{whole}:")
            if name != key and (value := ratio(grown.get(f"{part}:{name}", 0.0), grown[key])) is not None:
                rates[f"{kind}:{name}"] = value
    return rates
