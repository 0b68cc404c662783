"""Settings change while that helps and are taken back when it does not, in noise, load that drifts, and bursts."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector
from exporter.performance import ThroughputOptimizer
from exporter.performance.batches import BatchCost, batch_cost, optimal_size
from exporter.performance.search import Search

Seconds = Callable[[int, int], float]


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of this test's own."""
    return CollectorRegistry()


@pytest.fixture
def optimizer(registry: CollectorRegistry) -> ThroughputOptimizer:
    """An optimizer in that registry, whose time advances a second with each observation."""
    ticks = iter(range(10**9))
    return ThroughputOptimizer(collector=MetricsCollector(registry=registry), clock=lambda: float(next(ticks)))


def searched(seconds: Seconds, initial: int = 10, number: int = 3000, most: int = 10_000) -> Search:
    """A search after observations of batches that take so long, by their size and number."""
    search = Search(initial, 1, most)
    for turn in range(number):
        search.observe(search.value, seconds(search.value, turn))
    return search


def noisy(seconds: Seconds, share: float, seed: int) -> Seconds:
    made = random.Random(seed)
    return lambda size, turn: seconds(size, turn) * made.lognormvariate(0, share)


def fixed_cost(size: int, turn: int) -> float:
    return 0.010 + 0.0001 * size


def test_a_batch_size_that_is_too_small_is_raised() -> None:
    # Doubling gains 5 % or more up to a size whose fixed cost is a ninth or so of the whole.
    found = searched(fixed_cost, number=1000)
    assert 640 <= found.kept <= 1280
    assert found.is_settled


def test_a_batch_size_that_is_too_large_is_lowered() -> None:
    found = searched(lambda size, turn: 0.01 + 1e-6 * size**2, initial=5000)
    assert 50 <= found.kept <= 200


@pytest.mark.parametrize("seed", range(5))
def test_noise_does_not_hide_what_helps(seed: int) -> None:
    assert searched(noisy(fixed_cost, 0.3, seed)).kept >= 160


def test_noise_alone_changes_nothing() -> None:
    wrong = sum(
        [searched(noisy(lambda size, turn: size / 1000, 0.3, seed), number=160).accepted for seed in range(200)]
    )
    assert wrong <= 8  # of 400 trials, where each passes once in 100 by chance


@pytest.mark.parametrize("factor", [0.999, 1.001])
def test_load_that_drifts_changes_nothing(factor: float) -> None:
    found = searched(noisy(lambda size, turn: size * factor**turn, 0.05, 1), number=900)
    assert found.kept == 10


def test_a_change_that_harms_is_taken_back() -> None:
    found = searched(lambda size, turn: size * (1.0 if size == 10 else 2.0), number=200)
    assert (found.kept, found.value, found.accepted, found.taken_back) == (10, 10, 0, 2)


def test_what_changes_later_is_found_later() -> None:
    found = searched(lambda size, turn: 0.1 + size if turn < 500 else 100.0 + size, number=6000)
    assert found.kept > 100


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 2**32))
def test_values_stay_within_their_bounds(least: int, more: int, most_more: int, seed: int) -> None:
    made = random.Random(seed)
    search = Search(least + more, least, least + more + most_more)
    for _ in range(300):
        assert least <= search.value <= least + more + most_more
        search.observe(search.value, made.random())


@pytest.mark.parametrize(("initial", "least", "most"), [(0, 0, 5), (5, 6, 9), (10, 1, 9)])
def test_bounds_enclose_the_initial_value(initial: int, least: int, most: int) -> None:
    with pytest.raises(ValueError, match="enclose"):
        Search(initial, least, most)


def test_a_program_takes_the_batch_size_that_is_tried(optimizer: ThroughputOptimizer) -> None:
    applied: list[int] = []
    optimizer.tune("insert", "batch_size", initial=10, most=5000, apply=applied.append)
    for _ in range(2000):
        size = optimizer.get_setting("insert", "batch_size")
        assert size == applied[-1]
        optimizer.observe("insert", size, fixed_cost(size, 0))
    kept = optimizer.get_throughput_statistics("insert")["settings"]["batch_size"]["kept"]
    assert 640 <= kept <= 1280


def test_what_applies_a_setting_may_wait_for_a_thread_that_observes(optimizer: ThroughputOptimizer) -> None:
    applied: list[int] = []

    def resize(size: int) -> None:
        worker = threading.Thread(target=optimizer.observe, args=("insert", 1, 0.01), daemon=True)
        worker.start()
        worker.join(30)
        assert not worker.is_alive()
        applied.append(size)

    optimizer.tune("insert", "batch_size", initial=10, apply=resize)
    for _ in range(20):
        optimizer.observe("insert", optimizer.get_setting("insert", "batch_size"), 0.01)
    assert set(applied) == {10, 20}


def test_a_change_while_another_is_applied_is_applied_after_it(optimizer: ThroughputOptimizer) -> None:
    applied: list[int] = []

    def resize(size: int) -> None:
        if size == 20:  # the trial goes on meanwhile, until the value changes back
            while optimizer.get_setting("insert", "batch_size") == 20:
                optimizer.observe("insert", 20, 0.01)
        applied.append(size)

    optimizer.tune("insert", "batch_size", initial=10, apply=resize)
    for _ in range(4):
        optimizer.observe("insert", 10, 0.01)
    assert applied == [10, 20, 10]


def test_what_applying_raises_is_raised_where_it_was_observed(optimizer: ThroughputOptimizer) -> None:
    def resize(size: int) -> None:
        if size == 20:
            raise OSError("no connection")

    optimizer.tune("insert", "batch_size", initial=10, apply=resize)
    for _ in range(3):
        optimizer.observe("insert", 10, 0.01)
    with pytest.raises(OSError, match="no connection"):
        optimizer.observe("insert", 10, 0.01)
    optimizer.observe("insert", 20, 0.01)


@pytest.mark.parametrize("options", [{"apply": 5}, {"initial": 2.5}])
def test_settings_of_another_type_are_refused(optimizer: ThroughputOptimizer, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        optimizer.tune("insert", "batch_size", **{"initial": 10, **options})


def test_operations_that_are_counted_together_have_no_target_or_settings(optimizer: ThroughputOptimizer) -> None:
    for number in range(501):
        optimizer.observe(f"operation {number}", 1, 1)
    with pytest.raises(ValueError, match="500 operations"):
        optimizer.set_target("one more", 10)
    with pytest.raises(ValueError, match="500 operations"):
        optimizer.tune("one more", "workers", initial=1)


def test_parts_of_batches_are_no_evidence(optimizer: ThroughputOptimizer) -> None:
    optimizer.tune("insert", "batch_size", initial=10)
    for _ in range(1000):
        optimizer.observe("insert", 3, 0.01)
    assert optimizer.get_setting("insert", "batch_size") == 10


def test_workers_are_tried_when_the_batch_size_is_settled(optimizer: ThroughputOptimizer) -> None:
    optimizer.tune("insert", "batch_size", initial=10, least=10, most=10)
    optimizer.tune("insert", "workers", initial=1, most=16)
    for _ in range(1500):
        workers = optimizer.get_setting("insert", "workers")
        optimizer.observe("insert", 10, 1 / min(workers, 4))
    assert optimizer.get_setting("insert", "workers") == 4


def test_settings_that_are_not_tuned_are_unknown(optimizer: ThroughputOptimizer) -> None:
    optimizer.observe("insert", 1, 1)
    with pytest.raises(LookupError, match="workers of insert"):
        optimizer.get_setting("insert", "workers")


def test_what_is_observed_is_on_the_page(optimizer: ThroughputOptimizer, registry: CollectorRegistry) -> None:
    optimizer.set_target("insert", 500)
    optimizer.tune("insert", "batch_size", initial=20)
    optimizer.observe("insert", 20, 0.5)
    optimizer.observe("insert", 10, 0.5)
    found = {
        name: registry.get_sample_value(f"program_operation_{name}", {"operation": "insert"})
        for name in ("items_total", "seconds_total", "target_items_per_second", "batch_size", "workers")
    }
    assert found == {
        "items_total": 30, "seconds_total": 1, "target_items_per_second": 500, "batch_size": 20, "workers": None
    }  # fmt: skip
    assert optimizer.get_throughput_statistics("insert")["rate"] == 30


@pytest.mark.parametrize(("items", "seconds"), [(-1, 1), (1, -1), (float("nan"), 1), (1, float("inf"))])
def test_observations_are_numbers_from_zero(optimizer: ThroughputOptimizer, items: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="from 0"):
        optimizer.observe("insert", items, seconds)


@pytest.mark.parametrize(("factor", "direction"), [(0.99, "falling"), (1.01, "rising"), (1.0, "steady")])
def test_a_trend_shows_in_noise(optimizer: ThroughputOptimizer, factor: float, direction: str) -> None:
    made = random.Random(3)
    for turn in range(100):
        optimizer.observe("insert", 100 * factor**turn * made.lognormvariate(0, 0.2), 1)
    assert optimizer.get_throughput_trend("insert")["direction"] == direction


@given(st.floats(1e-4, 1), st.floats(1e-6, 1e-2), st.integers(1, 10_000))
def test_the_optimal_size_has_nine_tenths_of_the_rate(fixed: float, each: float, most: int) -> None:
    size = optimal_size(BatchCost(fixed, each), most)
    assert 1 <= size <= most
    if 1 < size < most:
        assert BatchCost(fixed, each).rate(size + 1) >= 0.9 / each


def test_the_optimal_batch_size_is_found_in_spite_of_slow_batches(optimizer: ThroughputOptimizer) -> None:
    made = random.Random(5)
    for size in [10, 20, 40, 80] * 20:
        slow = 20 if made.random() < 0.1 else 1
        optimizer.observe("insert", size, fixed_cost(size, 0) * made.lognormvariate(0, 0.02) * slow)
    assert optimizer.calculate_optimal_batch_size("insert") == pytest.approx(900, rel=0.3)
    assert optimizer.calculate_optimal_batch_size("insert", max_seconds=0.030) == pytest.approx(200, rel=0.3)
    assert optimizer.calculate_optimal_batch_size("insert", most=64) == 64


@pytest.mark.parametrize(
    "observed", [[], [(10, 1.0)] * 100, [(10, 1.0), (20, 2.0)] * 50, [(1, 3.0), (2, 2.0), (3, 1.0)] * 9]
)
def test_an_optimal_size_is_unknown_without_evidence(observed: list[tuple[float, float]]) -> None:
    assert batch_cost(observed) is None
