"""The collector: makes the metrics of a program and stores them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, Self, TypeAlias

import prometheus_client
from prometheus_client import REGISTRY, CollectorRegistry, Metric

from exporter.instrument.conventions import check_buckets, check_metric
from exporter.instrument.library.family import Family, Labels, SummaryFamily
from exporter.instrument.library.metrics import Counter, Gauge, Histogram, Summary
from exporter.instrument.library.periodic import PeriodicPush
from exporter.instrument.library.rules import Made, OfThisProcess, Rules, made_in
from exporter.instrument.measurements import Measurement, MetricType, json_text, measurements
from exporter.instrument.results import Failure, Result, Success
from exporter.instrument.storages.memory import MemoryStorage
from exporter.instrument.storages.prometheus import PrometheusStorage
from exporter.instrument.storages.storage import Storage, StorageError

MAX_SERIES = 1000
MAX_AGE_SECONDS = 600.0
MAX_SAMPLES = 10_000
MultiprocessMode: TypeAlias = Literal[
    "all", "liveall", "min", "livemin", "max", "livemax", "sum", "livesum", "mostrecent", "livemostrecent"
]


class MetricsCollector(OfThisProcess):
    """Metrics in a registry of prometheus-client, that of the process by default, and a storage for their values.

    A metric that exists in the registry is returned again for the same name; `ValueError` for one of another type or
    with other options, or when something else has the name. Labels are those of the first use. `strict` makes errors
    of the conventions for names, which are logged otherwise. A metric has up to `max_series` label sets; calls with
    others go to the labels `__other__`, counted by `instrument_beyond_max_series_total`.
    """

    def __init__(
        self,
        storage: Storage | None = None,
        *,
        registry: CollectorRegistry | None = None,
        strict: bool = False,
        max_series: int = MAX_SERIES,
    ) -> None:
        if storage is not None and (isinstance(storage, type) or not hasattr(storage, "store")):
            raise TypeError(f"storage is an object such as MemoryStorage(), not {storage!r}")
        self.storage: Storage = MemoryStorage() if storage is None else storage
        of_storage = storage.registry if isinstance(storage, PrometheusStorage) else REGISTRY
        self.registry = of_storage if registry is None else registry
        self._made = made_in(self.registry)
        self._rules = Rules(self._made, strict=strict, max_series=max_series)
        self._families: dict[str, Family[Any]] = {}
        self._pushes: list[PeriodicPush] = []

    def counter(self, name: str, description: str = "", labels: Labels | None = None) -> Counter:
        """Return the counter of that name."""
        create = partial(prometheus_client.Counter, name, description, registry=None)
        new = partial(Family[prometheus_client.Counter], name, MetricType.COUNTER, description, create, self._rules)
        return Counter(self._family(name, MetricType.COUNTER, new), labels)

    def gauge(
        self,
        name: str,
        description: str = "",
        labels: Labels | None = None,
        *,
        multiprocess_mode: MultiprocessMode | None = None,
    ) -> Gauge:
        """Return the gauge of that name; `multiprocess_mode` is that of prometheus-client ("all")."""
        mode: Any = multiprocess_mode or "all"
        create = partial(prometheus_client.Gauge, name, description, registry=None, multiprocess_mode=mode)
        new = partial(Family[prometheus_client.Gauge], name, MetricType.GAUGE, description, create, self._rules)
        return Gauge(self._family(name, MetricType.GAUGE, new, multiprocess_mode=multiprocess_mode), labels)

    def histogram(
        self, name: str, description: str = "", labels: Labels | None = None, *, buckets: Sequence[float] | None = None
    ) -> Histogram:
        """Return the histogram of that name; `buckets` are upper bounds, those of prometheus-client by default.

        Raises `ValueError` unless they increase.
        """
        bounds = prometheus_client.Histogram.DEFAULT_BUCKETS if buckets is None else check_buckets(name, buckets)
        create = partial(prometheus_client.Histogram, name, description, registry=None, buckets=bounds)
        new = partial(Family[prometheus_client.Histogram], name, MetricType.HISTOGRAM, description, create, self._rules)
        given = None if buckets is None else bounds
        return Histogram(self._family(name, MetricType.HISTOGRAM, new, buckets=given), labels)

    def summary(
        self,
        name: str,
        description: str = "",
        labels: Labels | None = None,
        *,
        max_age: float | None = None,
        max_samples: int | None = None,
    ) -> Summary:
        """Return the summary of that name, of the last `max_age` seconds (600) in `max_samples` numbers (10,000)."""
        age = MAX_AGE_SECONDS if max_age is None else max_age
        samples = MAX_SAMPLES if max_samples is None else max_samples
        new = partial(SummaryFamily, name, description, self._rules, age, samples)
        return Summary(self._family(name, MetricType.SUMMARY, new, max_age=max_age, max_samples=max_samples), labels)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this collector, as a collector of prometheus-client does."""
        for family in list(self._families.values()):
            yield from family.collect()
        if self._made.beyond is not None:
            yield from self._made.beyond.collect()

    def snapshot(self) -> list[Measurement]:
        """Return all samples of this collector, in multiprocess mode those of this process."""
        return list(measurements(self.collect(), time.time()))

    async def get_all_metrics(self) -> list[Measurement]:
        """Return all samples of this collector, in multiprocess mode those of this process."""
        return self.snapshot()

    def export_json(self) -> str:
        """Return all samples of this collector as a JSON array of objects, as `get_all_metrics` does."""
        return json_text(self.snapshot())

    def store(self) -> Result[int, StorageError]:
        """Store the metrics; the result is the number of samples, or why they are not stored. May block."""
        try:
            return Success(self.storage.store(self))
        except StorageError as error:
            return Failure(error)
        except Exception as error:  # of a storage that is the program's own
            failure = StorageError(f"{type(error).__name__}: {error}")
            failure.__cause__ = error
            return Failure(failure)

    async def collect_and_store(self) -> Result[int, StorageError]:
        """Store the metrics from a thread; the result is the number of samples, or why they are not stored."""
        import asyncio

        return await asyncio.to_thread(self.store)

    def push_every(self, seconds: float) -> PeriodicPush:
        """Store the metrics every so many seconds, by a task where an event loop runs and by a thread elsewhere."""
        push = PeriodicPush(self.store, seconds)
        self._pushes.append(push)
        return push

    def close(self) -> None:
        """End periodic pushes, each with a last one, and close the storage. The metrics stay in the registry."""
        for push in self._pushes:
            push.stop()
        self._pushes.clear()
        self.storage.close()

    async def aclose(self) -> None:
        """End periodic pushes, each with a last one, and close the storage. The metrics stay in the registry."""
        import asyncio

        for push in self._pushes:
            await push.aclose()
        self._pushes.clear()
        await asyncio.to_thread(self.storage.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def _family(self, name: str, metric_type: MetricType, new: Callable[[], Family[Any]], **options: object) -> Any:
        """Return the family of a name, made if there is none."""
        shown = f"{name.removesuffix('_total')}_total" if metric_type is MetricType.COUNTER else name
        if shown not in self._families:
            self._rules.report(name, check_metric(name, metric_type))
        given = {key: value for key, value in options.items() if value is not None}
        with self._made.lock:
            made = self._made.families.get(shown)
            if made is None:
                made = Made(new(), given)
                self.registry.register(made.family)
                self._made.families[shown] = made
        if made.family.metric_type is not metric_type:
            raise ValueError(f"{name} is a {made.family.metric_type} already")
        if given and given != {key: made.options.get(key) for key in given}:
            raise ValueError(f"{name} exists with other options: {dict(made.options)}, not {given}")
        self._families[shown] = made.family
        return made.family
