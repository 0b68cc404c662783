"""A run in a limited number of pieces of equal length. Pure: times are arguments."""

from __future__ import annotations

from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.results import Slice

MOST = 40


class Slices:
    """Latencies and errors of pieces of a run; the pieces begin with a second and double when there are too many."""

    def __init__(self) -> None:
        self._seconds = 1
        self._pieces: list[tuple[LatencyHistogram, int]] = []

    def add(self, second: int, latencies: LatencyHistogram, errors: int) -> None:
        """Count what came in a second; those in between were without any."""
        while (number := second // self._seconds) >= MOST:
            self._double()
        self._pieces += [(LatencyHistogram(), 0) for _ in range(number + 1 - len(self._pieces))]
        whole, before = self._pieces[number]
        whole.merge(latencies)
        self._pieces[number] = (whole, before + errors)

    def slices(self) -> tuple[Slice, ...]:
        """Return the pieces in order; the run may have ended within the last one."""
        length = float(self._seconds)
        return tuple(
            Slice(at=number * length, seconds=length, errors=errors, latency=latencies.distribution())
            for number, (latencies, errors) in enumerate(self._pieces)
        )

    def _double(self) -> None:
        self._pieces += [(LatencyHistogram(), 0)] if len(self._pieces) % 2 else []
        for (first, _), (second, _) in zip(self._pieces[::2], self._pieces[1::2], strict=True):
            first.merge(second)
        errors = [one[1] + other[1] for one, other in zip(self._pieces[::2], self._pieces[1::2], strict=True)]
        self._pieces = [(first, number) for (first, _), number in zip(self._pieces[::2], errors, strict=True)]
        self._seconds *= 2
