"""A decorator that measures calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from exporter.instrument.library.collector import MetricsCollector
from exporter.instrument.library.default import get_metrics_collector
from exporter.instrument.library.family import Labels
from exporter.instrument.library.functions import check_function, is_async
from exporter.instrument.library.metrics import Counter, Histogram

F = TypeVar("F", bound=Callable[..., Any])


class TimingMetric(NamedTuple):
    """The histogram for the seconds that calls take."""

    name: str
    description: str = ""
    buckets: Sequence[float] | None = None


class CounterMetric(NamedTuple):
    """A counter of calls."""

    name: str
    description: str = ""


class PerformanceMonitored:
    """Decorator that measures calls of a function, a coroutine function or a method.

    Every call that ends is timed and counted, and those that fail are counted as errors too: with an exception, or
    with a returned object whose `is_failure()` is true or whose `is_success()` is false. Cancelled calls are no errors.
    Raises `TypeError` for generators, classes and what `classmethod`, `staticmethod` and `property` return, and for
    metrics that are none.
    """

    def __init__(
        self,
        timing_metric: TimingMetric | None = None,
        counter_metric: CounterMetric | None = None,
        error_counter: CounterMetric | None = None,
        labels: Labels | None = None,
        *,
        collector: MetricsCollector | None = None,
    ) -> None:
        _check_metrics(TimingMetric, timing_metric=timing_metric)
        _check_metrics(CounterMetric, counter_metric=counter_metric, error_counter=error_counter)
        made = collector or get_metrics_collector()
        self._timing = _histogram(made, timing_metric, labels)
        self._calls = _counter(made, counter_metric, labels)
        self._errors = _counter(made, error_counter, labels)

    def __call__(self, function: F) -> F:
        """Return a function of the same kind that measures its calls."""
        check_function(function, "its time is that of the code which reads it")
        measured: Any = self._async(function) if is_async(function) else self._sync(function)
        return measured  # type: ignore[no-any-return]

    def _sync(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            begin, failed = perf_counter(), False
            try:
                returned = function(*args, **kwargs)
                failed = is_failure(returned)
                return returned
            except Exception:
                failed = True
                raise
            finally:
                self._record(perf_counter() - begin, failed)

        return measured

    def _async(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        async def measured(*args: Any, **kwargs: Any) -> Any:
            begin, failed = perf_counter(), False
            try:
                returned = await function(*args, **kwargs)
                failed = is_failure(returned)
                return returned
            except Exception:
                failed = True
                raise
            finally:
                self._record(perf_counter() - begin, failed)

        return measured

    def _record(self, seconds: float, failed: bool) -> None:
        if self._timing:
            self._timing.observe(seconds)
        if self._calls:
            self._calls.increment()
        if failed and self._errors:
            self._errors.increment()


def is_failure(returned: object) -> bool:
    """Return whether an object is the result of a failure: by `is_failure()`, or else by `is_success()`.

    Only True and False are answers: objects that have any attribute, such as proxies and mocks, are no failures.
    """
    for name, failure in (("is_failure", True), ("is_success", False)):
        try:
            answer = getattr(returned, name, None)
            answer = answer() if callable(answer) else answer
        except Exception:
            return False  # measuring must not make a call fail
        if isinstance(answer, bool):
            return answer is failure
    return False


def _check_metrics(kind: type, **given: object) -> None:
    for name, metric in given.items():
        if metric is not None and not isinstance(metric, kind):
            hint = ": the decorator is called with its metrics first" if callable(metric) else ""
            raise TypeError(f"{name} is a {kind.__name__}, not {metric!r}{hint}")


def _histogram(collector: MetricsCollector, metric: TimingMetric | None, labels: Labels | None) -> Histogram | None:
    return metric and collector.histogram(metric.name, metric.description, labels, buckets=metric.buckets)


def _counter(collector: MetricsCollector, metric: CounterMetric | None, labels: Labels | None) -> Counter | None:
    return metric and collector.counter(metric.name, metric.description, labels)
