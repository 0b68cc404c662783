"""What is measured of the batches of a feed: one analyzer a module, each with its metrics. Pure: time is an argument.

A new module with an analyzer needs no entry anywhere else. A module without one is a part that analyzers share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from exporter.config.schema import Config, Thresholds
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats
    from exporter.instrument.families import Row
    from exporter.instrument.selection import Selection
    from exporter.model import Anomaly, Arrival


class Analyzer(ABC):
    """One subject, measured on the batches of one feed.

    `rows` are its metric families, made from an analyzer of the class; gauges are shown while the feed is owned.
    `meanings` explains each kind of anomaly that it finds. An analyzer with `needs_order_books` is created with the
    first order book of its feed and observes only batches in which books were read, so other feeds pay nothing for it.
    `is_required`: it is created even if none of its families is shown, because states depend on it.
    """

    __slots__ = ()

    rows: ClassVar[tuple[Row[Any], ...]]
    meanings: ClassVar[Mapping[Anomaly, str]] = MappingProxyType({})
    needs_order_books: ClassVar[bool] = False
    is_required: ClassVar[bool] = False

    @classmethod
    def create(cls, config: Config, rule: Thresholds) -> Self:
        """Return an analyzer for one feed, whose thresholds are `rule`."""
        return cls()

    def reconfigure(self, config: Config, rule: Thresholds) -> None:  # noqa: B027 - most analyzers have no settings
        """Put other settings in force, as `create` would; what is counted and learned stays."""

    @abstractmethod
    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """Take one batch into account and return the anomalies in it, each kind once.

        Each counted batch is observed once, in the order of its partition.
        """

    def forget_symbols(self, symbols: Iterable[str]) -> None:  # noqa: B027 - most analyzers know no symbols
        """Forget these symbols, known or not, to make room for others."""

    def set_back(self, now_ms: int) -> None:  # noqa: B027 - most analyzers keep no times
        """Let no time be later than `now_ms`: the sidecar's clock was set back."""

    def release(self) -> None:  # noqa: B027 - most analyzers only count
        """Forget what holds at present: from now on the feed is read elsewhere."""


@cache
def analyzers() -> tuple[type[Analyzer], ...]:
    """Return the analyzers of this package, ordered by their modules."""
    names = sorted(f"{__name__}.{module.name}" for module in iter_modules(__path__))
    return tuple(each for name in names for each in vars(import_module(name)).values() if _is_analyzer(each, name))


@cache
def used(shown: Selection, *, needs_order_books: bool) -> tuple[type[Analyzer], ...]:
    """Return the analyzers of batches, or of order books, that show, find or decide something; no feed has others."""
    return tuple(
        kind
        for kind in analyzers()
        if kind.needs_order_books is needs_order_books
        and (kind.is_required or kind.meanings or any(shown.shows(row.name, row.kind) for row in kind.rows))
    )


def _is_analyzer(value: object, module: str) -> bool:
    """Whether a value of the module is an analyzer that is defined there, rather than imported."""
    return isinstance(value, type) and issubclass(value, Analyzer) and value.__module__ == module
