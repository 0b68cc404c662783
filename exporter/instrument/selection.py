"""Which families are shown, and the kinds of histograms: what is not shown is not kept. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Literal

from exporter.instrument.exposition import AnyFamily, kind_of
from exporter.instrument.histogram import Bounds, Histogram

if TYPE_CHECKING:
    from exporter.config.schema import MetricsConfig

HistogramMode = Literal["classic", "native", "both", "off"]


class Selection:
    """The families whose names match a glob of `include` and none of `exclude`.

    A counter may be named with or without `_total`.
    """

    def __init__(
        self, include: Iterable[str] = ("*",), exclude: Iterable[str] = (), histograms: HistogramMode = "classic"
    ) -> None:
        self._include = tuple(include)
        self._exclude = tuple(exclude)
        self._histograms = histograms
        self._known: dict[tuple[str, str], bool] = {}
        self._shows_all = self._include == ("*",) and not self._exclude and histograms != "off"

    def shows(self, name: str, kind: str = "") -> bool:
        """Return whether a family is shown; `kind` is counter, gauge, histogram and so on."""
        if (known := self._known.get((name, kind))) is None:
            known = self._known[name, kind] = self._decide(name, kind)
        return known

    def names(self, names: Iterable[str], kind: str) -> frozenset[str]:
        """Return those of the names of families of one kind that are shown."""
        return frozenset(name for name in names if self._shows_all or self.shows(name, kind))

    def chosen(self, families: list[AnyFamily]) -> list[AnyFamily]:
        """Return the families that are shown."""
        return families if self._shows_all else [each for each in families if self.shows(each.name, kind_of(each))]

    def histogram(self, name: str, bounds: Bounds) -> Histogram | None:
        """Return a new histogram of a family, None for one that is not shown."""
        is_classic, is_native = self.buckets(name)
        if not is_classic and not is_native:
            return None
        return Histogram(bounds, is_classic=is_classic, is_native=is_native)

    def buckets(self, name: str) -> tuple[bool, bool]:
        """Return whether a histogram has classic buckets, and native ones; neither if it is not shown."""
        if not self.shows(name, "histogram"):
            return False, False
        return self._histograms != "native", self._histograms != "classic"

    def own_histogram(self, name: str, bounds: Bounds) -> Histogram:
        """Return a new histogram of which there is one in a process: if it is not shown, it is kept all the same."""
        return self.histogram(name, bounds) or Histogram(bounds)

    def _decide(self, name: str, kind: str) -> bool:
        if kind == "histogram" and self._histograms == "off":
            return False
        names = (name, f"{name}_total") if kind == "counter" else (name,)
        return _matches(names, self._include) and not _matches(names, self._exclude)


def _matches(names: Iterable[str], globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for name in names for glob in globs)


ALL = Selection()


@cache
def selection(metrics: MetricsConfig) -> Selection:
    """Return what a configuration shows: one for all parts, which remembers its decisions."""
    return Selection(metrics.families.include, metrics.families.exclude, metrics.histograms)
