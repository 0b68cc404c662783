"""Calls of functions, coroutine functions and methods are timed and counted, and failed ones are counted as errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from exporter.instrument import (
    CounterMetric,
    Failure,
    MetricsCollector,
    PerformanceMonitored,
    StorageError,
    Success,
    TimingMetric,
)
from exporter.instrument.library.decorators import is_failure


class Measured(NamedTuple):
    """A decorator, and the registry of its metrics."""

    registry: CollectorRegistry
    monitored: PerformanceMonitored

    def counted(self) -> tuple[float | None, float | None, float | None]:
        """Calls that were timed, calls, and errors."""
        names = ("create_time_seconds_count", "create_total", "create_errors_total")
        timed, calls, errors = (self.registry.get_sample_value(name, {"service": "user"}) for name in names)
        return timed, calls, errors


@pytest.fixture
def measured() -> Measured:
    """A decorator with all metrics."""
    registry = CollectorRegistry()
    monitored = PerformanceMonitored(
        timing_metric=TimingMetric("create_time_seconds", "Time to create a user.", buckets=[0.1, 1.0]),
        counter_metric=CounterMetric("create_total", "Users to create."),
        error_counter=CounterMetric("create_errors_total", "Users that were not created."),
        labels={"service": "user"},
        collector=MetricsCollector(registry=registry),
    )
    return Measured(registry, monitored)


def test_the_decorator_is_used_as_documented() -> None:
    @PerformanceMonitored(
        timing_metric=TimingMetric("create_time"),
        counter_metric=CounterMetric("create_total"),
        error_counter=CounterMetric("create_errors"),
        labels={"service": "user"},
    )
    async def create(name: str) -> str:
        return name

    assert asyncio.run(create("a")) == "a"
    assert REGISTRY.get_sample_value("create_time_count", {"service": "user"}) == 1.0
    assert REGISTRY.get_sample_value("create_total", {"service": "user"}) == 1.0
    assert REGISTRY.get_sample_value("create_errors_total", {"service": "user"}) == 0.0


def test_a_function_is_measured(measured: Measured) -> None:
    @measured.monitored
    def create(name: str, *, upper: bool = False) -> str:
        """Create a user."""
        return name.upper() if upper else name

    assert create("a", upper=True) == "A"
    assert (create.__name__, create.__doc__) == ("create", "Create a user.")
    assert list(inspect.signature(create).parameters) == ["name", "upper"]
    assert measured.counted() == (1.0, 1.0, 0.0)


def test_errors_are_shown_as_zero_before_the_first(measured: Measured) -> None:
    assert measured.counted() == (0.0, 0.0, 0.0)


def test_an_exception_is_an_error_and_is_raised(measured: Measured) -> None:
    @measured.monitored
    def create() -> None:
        raise KeyError("user")

    with pytest.raises(KeyError, match="user"):
        create()
    assert measured.counted() == (1.0, 1.0, 1.0)


def test_a_coroutine_function_stays_one(measured: Measured) -> None:
    @measured.monitored
    async def create(fails: bool) -> int:
        await asyncio.sleep(0)
        if fails:
            raise KeyError("user")
        return 7

    assert inspect.iscoroutinefunction(create)
    assert asyncio.run(create(False)) == 7
    with pytest.raises(KeyError):
        asyncio.run(create(True))
    assert measured.counted() == (2.0, 2.0, 1.0)


def test_the_time_of_a_coroutine_is_that_until_its_end(measured: Measured) -> None:
    """It waits for another, and its time is more than that of its creation."""
    loop_times: list[float] = []

    @measured.monitored
    async def create() -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await asyncio.sleep(0.01)
        loop_times.append(loop.time() - begin)

    asyncio.run(create())
    seconds = measured.registry.get_sample_value("create_time_seconds_sum", {"service": "user"})
    assert seconds is not None
    assert seconds >= loop_times[0]


def test_a_cancelled_call_is_no_error(measured: Measured) -> None:
    @measured.monitored
    async def create() -> None:
        await asyncio.Event().wait()

    async def program() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(create(), 0.01)

    asyncio.run(program())
    assert measured.counted() == (1.0, 1.0, 0.0)


def test_methods_are_measured(measured: Measured) -> None:
    class Service:
        @measured.monitored
        def create(self, name: str) -> str:
            return name

        @measured.monitored
        async def create_later(self, name: str) -> str:
            return name

        @classmethod
        @measured.monitored
        def of_class(cls) -> str:
            return cls.__name__

        @staticmethod
        @measured.monitored
        def of_none() -> int:
            return 1

    service = Service()
    assert service.create("a") == "a"
    assert asyncio.run(service.create_later("b")) == "b"
    assert (Service.of_class(), Service.of_none()) == ("Service", 1)
    assert measured.counted() == (4.0, 4.0, 0.0)


def test_objects_that_are_called_are_measured(measured: Measured) -> None:
    class Later:
        async def __call__(self) -> int:
            return 1

    assert asyncio.run(measured.monitored(Later())()) == 1
    assert measured.monitored(partial(int, "7"))() == 7
    assert measured.counted() == (2.0, 2.0, 0.0)


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Generates:
    """An object whose call is a generator."""

    def __call__(self) -> Iterator[int]:
        """Yield a number."""
        yield 1


@pytest.mark.parametrize("function", [generator, async_generator, partial(generator), Generates()])
def test_generators_are_refused(measured: Measured, function: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match="is a generator"):
        measured.monitored(function)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (classmethod(lambda cls: 1), "below classmethod"),
        (staticmethod(lambda: 1), "below staticmethod"),
        (property(lambda self: 1), "below property"),
        (Generates, "no function: decorate its methods"),
        (1, "no function"),
    ],
)
def test_what_is_no_function_is_refused(measured: Measured, function: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        measured.monitored(function)


class OnlySuccess(NamedTuple):
    """A result that knows `is_success` only."""

    good: bool

    def is_success(self) -> bool:
        """Return whether it is one."""
        return self.good


class OnlyFailure(NamedTuple):
    """A result that knows `is_failure` only."""

    bad: bool

    def is_failure(self) -> bool:
        """Return whether it is one."""
        return self.bad


class Attribute(NamedTuple):
    """A result with a plain attribute."""

    is_success: bool


class Raises:
    """An object that cannot be asked."""

    def is_failure(self) -> bool:
        """Raise an error."""
        raise OSError


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (Success(1), False),
        (Failure(StorageError()), True),
        (OnlySuccess(True), False),
        (OnlySuccess(False), True),
        (OnlyFailure(True), True),
        (OnlyFailure(False), False),
        (Attribute(False), True),
        (Attribute(True), False),
        (Raises(), False),
        (Mock(), False),
        (Failure, False),
        (None, False),
        (False, False),
    ],
)
def test_a_returned_failure_is_an_error(measured: Measured, returned: object, expected: bool) -> None:
    assert is_failure(returned) is expected

    @measured.monitored
    def create() -> object:
        return returned

    @measured.monitored
    async def create_later() -> object:
        return returned

    assert create() is returned
    assert asyncio.run(create_later()) is returned
    assert measured.counted() == (2.0, 2.0, 2.0 * expected)


def test_any_of_the_metrics_can_be_left_out() -> None:
    registry = CollectorRegistry()
    collector = MetricsCollector(registry=registry)

    @PerformanceMonitored(error_counter=CounterMetric("job_errors_total"), collector=collector)
    def work(number: int) -> float:
        return 1 / number

    assert work(1) == 1.0
    with pytest.raises(ZeroDivisionError):
        work(0)
    assert registry.get_sample_value("job_errors_total") == 1.0


@pytest.mark.parametrize("metric", ["create_seconds", CounterMetric("create_total"), len])
def test_a_metric_of_another_type_is_refused(metric: Any) -> None:
    with pytest.raises(TypeError, match="timing_metric is a TimingMetric"):
        PerformanceMonitored(metric)
