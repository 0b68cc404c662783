"""What a collector asks of its metrics, and what a registry has of them already."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, NoReturn

import prometheus_client
from prometheus_client import CollectorRegistry

from exporter.instrument.library import notices

BEYOND = "instrument_beyond_max_series_total"
BEYOND_HELP = "Calls with labels beyond the limit of the metric, which went to the labels __other__."


class OfThisProcess:
    """What belongs to the registry of one process, and can neither be pickled nor copied."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} belongs to one process and cannot be pickled: "
            "pass names and labels, and make it in the other process"
        )


class Made(NamedTuple):
    """A family, and the arguments it was made with."""

    family: Any
    options: Mapping[str, object]


class MadeMetrics:
    """The families that this library made in one registry, by the name that they are shown with.

    Collectors of one registry share them. The registry is not kept alive.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lock = threading.Lock()
        self.families: dict[str, Made] = {}
        self.beyond: prometheus_client.Counter | None = None
        self._registry = weakref.ref(registry)

    def count_beyond(self, metric: str) -> None:
        """Count a call with labels beyond the limit of a metric."""
        with self.lock:
            if self.beyond is None:
                self.beyond = prometheus_client.Counter(BEYOND, BEYOND_HELP, ["metric"], registry=self._registry())
        self.beyond.labels(metric).inc()


_made = weakref.WeakKeyDictionary[CollectorRegistry, MadeMetrics]()
_made_lock = threading.Lock()


def made_in(registry: CollectorRegistry) -> MadeMetrics:
    """Return what was made in a registry."""
    with _made_lock:
        return _made.setdefault(registry, MadeMetrics(registry))


class Rules:
    """The limit of label sets of each metric, and whether conventions are rules."""

    def __init__(self, made: MadeMetrics, *, strict: bool, max_series: int) -> None:
        if max_series < 1:
            raise ValueError(f"max_series is at least 1, not {max_series!r}")
        self.made = made
        self.strict = strict
        self.max_series = max_series

    def report(self, metric: str, findings: Iterable[str]) -> None:
        """Log what is against the conventions; if strict, raise `ValueError`."""
        for finding in findings:
            if self.strict:
                raise ValueError(f"metric {metric}: {finding}")
            notices.convention(metric, finding)
