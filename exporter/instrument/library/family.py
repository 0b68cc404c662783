"""Families of prometheus-client whose labels are learnt at their first use, with a limit of label sets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Generic, NamedTuple, TypeAlias, TypeVar, cast

import prometheus_client
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from exporter.instrument.conventions import check_labels
from exporter.instrument.library import notices
from exporter.instrument.library.rules import Rules
from exporter.instrument.measurements import MetricType
from exporter.instrument.sliding_window import SlidingWindow
from exporter.instrument.storages.prometheus import in_multiprocess_mode

OTHER = "__other__"
S = TypeVar("S")
Labels: TypeAlias = Mapping[str, object]
# Returns a metric that has the labels with these names and is in no registry.
Create: TypeAlias = Callable[[Iterable[str]], MetricWrapperBase]


class Family(Generic[S]):
    """A metric of one name: `series` returns that with some labels, a child of prometheus-client's metric.

    The first use decides which labels it has. Until then it is shown with the labels it was announced with.
    """

    def __init__(self, name: str, metric_type: MetricType, description: str, create: Create, rules: Rules) -> None:
        if not isinstance(description, str):
            raise TypeError(f"the description of {name} is text, not {description!r}; labels are given as labels=")
        self.name = name
        self.metric_type = metric_type
        self.description = description
        self._create = create
        self._rules = rules
        self._metric: MetricWrapperBase | None = None
        self._names: tuple[str, ...] = ()
        self._children: dict[tuple[str, ...], S] = {}
        self._announced: list[dict[str, object]] = []
        self._is_full = False
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Return the family without samples, from which a registry takes its names."""
        base = self.name.removesuffix("_total") if self.metric_type is MetricType.COUNTER else self.name
        return [Metric(base, self.description, self.metric_type.value)]

    def collect(self) -> Iterable[Metric]:
        """Return the family with its samples, as a collector of prometheus-client does."""
        if self._metric is not None:
            return self._metric.collect()
        # In multiprocess mode a preview would be a value in the files of all processes.
        return [] if in_multiprocess_mode() or not self._announced else self._preview().collect()

    def announce(self, labels: Labels) -> None:
        """Show a series from now on, as soon as it fits the labels of the metric."""
        self._rules.report(self.name, check_labels(labels, self.metric_type))
        with self._lock:
            if self._metric is None:
                if labels not in self._announced:
                    self._announced.append(dict(labels))
                return
        if labels.keys() == set(self._names):
            self.series(labels)

    def series(self, labels: Labels) -> tuple[S, bool]:
        """Return the child with these labels, and whether it has them: false for that of all beyond the limit.

        Raises `ValueError` for other labels than those of the first use.
        """
        if self._metric is None:
            self._settle(labels)
        key = self._key(labels)
        child = self._children.get(key)
        return self._add(key) if child is None else (child, True)

    def find(self, labels: Labels) -> S | None:
        """Return the child with these labels, if there is one."""
        return None if self._metric is None else self._children.get(self._key(labels))

    def _key(self, labels: Labels) -> tuple[str, ...]:
        names = self._names
        if len(labels) == len(names):
            with suppress(KeyError):
                return tuple([str(labels[name]) for name in names])
        raise ValueError(f"the labels of {self.name} are {list(names)}, not {list(labels)}")

    def _settle(self, labels: Labels) -> None:
        """Create the metric with the labels of its first use."""
        self._rules.report(self.name, check_labels(labels, self.metric_type))
        with self._lock:
            if self._metric is not None:
                return
            self._names = tuple(labels)
            self._metric = self._create(self._names)
            announced, self._announced = self._announced, []
        for each in announced:
            if each.keys() == set(self._names):
                self.series(each)

    def _add(self, key: tuple[str, ...]) -> tuple[S, bool]:
        metric = self._metric
        assert metric is not None  # noqa: S101, it is settled
        with self._lock:
            is_beyond = key not in self._children and len(self._children) >= self._rules.max_series
            if not is_beyond:
                # A lone surrogate would make the whole page fail.
                values = tuple([value.encode("utf-8", "replace").decode() for value in key])
                self._children[key] = self._wrapped(metric.labels(*values) if values else metric, values)
                return self._children[key], True
            is_news, self._is_full = not self._is_full, True
        if is_news:
            notices.too_many_series(self.name, self._rules.max_series)
        self._rules.made.count_beyond(self.name)
        others = (OTHER,) * len(key)
        return self._wrapped(metric.labels(*others), others), False

    def _wrapped(self, child: MetricWrapperBase, values: tuple[str, ...]) -> S:
        """Return what `series` returns for a child with these values of the labels."""
        return cast(S, child)

    def _preview(self) -> MetricWrapperBase:
        names = tuple(self._announced[0])
        metric = self._create(names)
        for each in self._announced:
            if names and each.keys() == set(names):
                metric.labels(*[str(each[name]) for name in names])
        return metric


class WindowedSummary(NamedTuple):
    """A summary of prometheus-client, and the window that has its quantiles."""

    summary: prometheus_client.Summary
    window: SlidingWindow


class SummaryFamily(Family[WindowedSummary]):
    """Summaries that also have quantiles, each of a sliding window.

    prometheus-client's own have count and sum only (its issues 36, 162 and 888).
    """

    def __init__(self, name: str, description: str, rules: Rules, max_age: float, max_samples: int) -> None:
        create = partial(prometheus_client.Summary, name, description, registry=None)
        super().__init__(name, MetricType.SUMMARY, description, create, rules)
        self._max_age = max_age
        self._max_samples = max_samples
        self._new_window()  # wrong arguments are refused now
        self._windows: dict[tuple[str, ...], SlidingWindow] = {}

    def collect(self) -> Iterable[Metric]:
        """Return the family, with the quantiles of each child before its count and sum."""
        now = time.monotonic()
        for metric in super().collect():
            samples, metric.samples = metric.samples, []
            for sample in samples:
                if sample.name == f"{self.name}_count":
                    self._add_quantiles(metric, sample.labels, now)
                metric.samples.append(sample)
            yield metric

    def _add_quantiles(self, metric: Metric, labels: dict[str, str], now: float) -> None:
        window = self._windows.get(tuple([labels[name] for name in self._names]))
        for q, value in window.quantiles(now).items() if window else ():
            metric.add_sample(self.name, {**labels, "quantile": str(q)}, value)

    def _wrapped(self, child: MetricWrapperBase, values: tuple[str, ...]) -> WindowedSummary:
        window = self._windows.setdefault(values, self._new_window())
        return WindowedSummary(cast(prometheus_client.Summary, child), window)

    def _new_window(self) -> SlidingWindow:
        return SlidingWindow(self._max_age, self._max_samples, threading.Lock())
