"""The window has the values of its seconds, quantiles are within 1 %, and memory is bounded."""

import math
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.instrument.sliding_window import SLICES, SlidingWindow

MAX_AGE = 600.0
POSITIVE = st.floats(min_value=1e-9, max_value=1e12)


def exact(values: list[float], q: float) -> float:
    """The quantile as numpy has it."""
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    below, above = ordered[math.floor(position)], ordered[math.ceil(position)]
    share = position - math.floor(position)
    return below * (1 - share) + above * share


def filled(values: list[float], *, max_samples: int = 10_000, seconds: float = 0.0) -> SlidingWindow:
    """A window with these values, evenly in so many seconds."""
    window = SlidingWindow(MAX_AGE, max_samples)
    for number, value in enumerate(values):
        window.add(value, seconds * number / len(values))
    return window


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_of_few_values_are_exact(values: list[float], q: float) -> None:
    found = filled(values).quantile(q, 0.0)
    assert found == pytest.approx(exact(values, q), rel=1e-9, abs=1e-300)


@given(st.lists(POSITIVE, min_size=1, max_size=300), st.floats(0, 1), st.booleans())
def test_quantiles_of_compacted_values_are_within_a_percent(values: list[float], q: float, negative: bool) -> None:
    values = [-value for value in values] if negative else values
    window = filled(values, max_samples=10_000, seconds=MAX_AGE * 0.9)
    window.add(values[0], MAX_AGE * 0.9)
    assert window.quantile(q, MAX_AGE * 0.9) == pytest.approx(exact([*values, values[0]], q), rel=0.01)


@pytest.mark.parametrize("q", [0.0, 0.01, 0.5, 0.95, 0.99, 0.999, 1.0])
@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_quantiles_of_far_more_values_than_are_kept_are_within_a_percent(q: float, spread: float) -> None:
    made = random.Random(1)
    values = [made.lognormvariate(-3, spread) for _ in range(200_000)]
    window = filled(values, seconds=MAX_AGE * 0.8)
    assert window.statistics(MAX_AGE * 0.8)["count"] == len(values)
    assert window.quantile(q, MAX_AGE * 0.8) == pytest.approx(exact(values, q), rel=0.01)
    assert window.kept() <= 10_000


@given(st.lists(POSITIVE, max_size=400), st.integers(4, 100), st.floats(0, 3 * MAX_AGE))
def test_memory_is_bounded_by_max_samples(values: list[float], max_samples: int, seconds: float) -> None:
    window = SlidingWindow(MAX_AGE, max_samples)
    for number, value in enumerate(values):
        window.add(value, seconds * number / len(values))
        assert window.kept() <= max_samples


@given(st.lists(st.floats(0, MAX_AGE * 3), min_size=1, max_size=100).map(sorted))
def test_the_window_has_all_of_nine_tenths_and_nothing_older_than_its_age(times: list[float]) -> None:
    """Each value is its own time."""
    window = SlidingWindow(MAX_AGE, 10_000)
    for time in times:
        window.add(time, time)
    now = times[-1]
    found = window.statistics(now)
    assert found["min"] >= now - MAX_AGE
    young = [time for time in times if time > now - MAX_AGE * (1 - 1 / SLICES)]
    assert found["count"] >= len(young)
    assert found["max"] == now


def test_a_window_that_nothing_is_added_to_runs_empty() -> None:
    window = filled([1.0, 2.0, 3.0])
    assert window.statistics(MAX_AGE)["count"] == 3
    assert window.statistics(MAX_AGE + 1)["count"] == 0
    window.add(7.0, MAX_AGE + 2)
    assert window.statistics(MAX_AGE + 2)["p50"] == 7.0


def test_statistics_are_those_of_the_window() -> None:
    found = filled([0.1, 0.2, 0.3, 0.4]).statistics(0.0)
    assert found == {
        "count": 4,
        "sum": pytest.approx(1.0),
        "mean": pytest.approx(0.25),
        "min": 0.1,
        "max": 0.4,
        "p50": pytest.approx(0.25),
        "p95": pytest.approx(0.385),
        "p99": pytest.approx(0.397),
    }


def test_an_empty_window_has_no_mean_and_no_quantiles() -> None:
    found = SlidingWindow(MAX_AGE, 100).statistics(0.0)
    assert (found.pop("count"), found.pop("sum")) == (0, 0.0)
    assert list(found) == ["mean", "min", "max", "p50", "p95", "p99"]
    assert all(math.isnan(value) for value in found.values())


def test_zero_infinity_and_not_a_number_do_no_harm() -> None:
    window = SlidingWindow(MAX_AGE, 32)
    for value in (0.0, math.inf, math.nan, -math.inf, 1e300, math.nan, 0.0, 5.0, 5.0, 5.0):
        window.add(value, 0.0)
    assert window.quantile(0.0, 0.0) == -math.inf
    assert window.quantile(1.0, 0.0) == math.inf
    assert window.quantile(1 / 7, 0.0) == 0.0
    assert window.quantile(0.5, 0.0) == pytest.approx(5.0, rel=0.01)
    assert window.statistics(0.0)["count"] == 8


@pytest.mark.parametrize(("age", "samples"), [(0, 100), (-1, 100), (math.inf, 100), (math.nan, 100), (1, 3)])
def test_arguments_without_sense_are_refused(age: float, samples: int) -> None:
    with pytest.raises(ValueError, match="max_"):
        SlidingWindow(age, samples)


def test_no_value_of_several_threads_is_lost() -> None:
    window = SlidingWindow(MAX_AGE, 400, threading.Lock())

    def add() -> None:
        for _ in range(20_000):
            window.add(1.0, 0.0)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert window.statistics(0.0)["count"] == 80_000
