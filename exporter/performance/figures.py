"""The figures in the families of a program, by the names of their metrics. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite

from prometheus_client import Metric

# Of stages, operations, caches and so on, those are read that come first: what a program pushes is foreign.
NAMES_MAX = 100
PREFIX = "program_"

Labels = Mapping[str, str]
Counters = dict[str, float]


class Figures:
    """The finite samples of metrics that begin with `program_`."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._samples: dict[str, list[tuple[Labels, float]]] = {}
        for family in families:
            for sample in family.samples if family.name.startswith(PREFIX) else ():
                if isfinite(sample.value):
                    self._samples.setdefault(sample.name, []).append((sample.labels, float(sample.value)))

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""
        return not self._samples

    def one(self, name: str, **labels: str) -> float | None:
        """Return the sum of a metric, of those samples that have these labels; None without any."""
        found = [value for own, value in self._samples.get(name, ()) if labels.items() <= own.items()]
        return sum(found) if found else None

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return the sums of a metric by the values of a label."""
        sums: dict[str, float] = {}
        for own, value in self._samples.get(name, ()):
            key = own.get(label)
            if key is not None and labels.items() <= own.items() and (key in sums or len(sums) < NAMES_MAX):
                sums[key] = sums.get(key, 0.0) + value
        return sums

    def by_all(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the sums of a metric by the values of several labels, "" for one that is absent."""
        sums: dict[tuple[str, ...], float] = {}
        for own, value in self._samples.get(name, ()):
            key = tuple([own.get(label, "") for label in labels])
            if key in sums or len(sums) < NAMES_MAX:
                sums[key] = sums.get(key, 0.0) + value
        return sums

    def pairs(self, name: str, first: str, second: str) -> list[tuple[str, str, float]]:
        """Return the values of two labels with the value of each sample."""
        found = self._samples.get(name, ())[:NAMES_MAX]
        return [(own.get(first, ""), own.get(second, ""), value) for own, value in found]

    def names(self, label: str, *metrics: str) -> list[str]:
        """Return the values of a label in any of these metrics, in their order."""
        return list(dict.fromkeys(key for metric in metrics for key in self.by(metric, label)))[:NAMES_MAX]


def ratio(part: float, whole: float) -> float | None:
    """Return the part of a whole, None of nothing."""
    return part / whole if whole > 0 else None
