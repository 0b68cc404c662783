"""Stages are measured in milliseconds, beside their thresholds."""

from __future__ import annotations

import asyncio
import math
import threading
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector
from exporter.performance import LatencyMonitor
from exporter.performance.latency import DEFAULT_THRESHOLDS_MS, STAGES_MAX, VALUES_KEPT
from exporter.performance.recent import quantile

DURATIONS = st.lists(st.floats(0, 1e6), min_size=1, max_size=150)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of this test's own."""
    return CollectorRegistry()


@pytest.fixture
def monitor(registry: CollectorRegistry) -> LatencyMonitor:
    """A monitor in that registry."""
    return LatencyMonitor(collector=MetricsCollector(registry=registry))


def count(monitor: LatencyMonitor, stage: str) -> float:
    return monitor.get_latency_statistics(stage)["count"]


def test_thresholds_of_the_caller_win() -> None:
    made = LatencyMonitor({"model_inference": 5, "risk": 2.5}, collector=MetricsCollector(registry=CollectorRegistry()))
    assert made.thresholds == {**DEFAULT_THRESHOLDS_MS, "model_inference": 5.0, "risk": 2.5}


@pytest.mark.parametrize("threshold", [0, -1, math.nan, math.inf])
def test_a_threshold_is_a_number_above_zero(monitor: LatencyMonitor, threshold: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        monitor.set_threshold("risk", threshold)


@pytest.mark.parametrize("duration", [-0.1, math.nan, math.inf])
def test_a_duration_is_a_number_from_zero(monitor: LatencyMonitor, duration: float) -> None:
    with pytest.raises(ValueError, match="from 0"):
        monitor.record("risk", duration)
    assert count(monitor, "risk") == 0


def test_what_is_recorded_is_on_the_page(monitor: LatencyMonitor, registry: CollectorRegistry) -> None:
    for milliseconds in range(1, 101):
        monitor.record("signal_generation", milliseconds)
    name, stage = "program_stage_duration_seconds", {"stage": "signal_generation"}
    assert registry.get_sample_value(f"{name}_count", stage) == 100
    assert registry.get_sample_value(f"{name}_sum", stage) == pytest.approx(5.05)
    assert registry.get_sample_value(name, {**stage, "quantile": "0.95"}) == pytest.approx(0.09505, rel=0.01)
    assert registry.get_sample_value("program_stage_threshold_seconds", stage) == 0.02
    monitor.set_threshold("signal_generation", 30)
    assert registry.get_sample_value("program_stage_threshold_seconds", stage) == 0.03


def test_statistics_are_those_of_the_last_values(monitor: LatencyMonitor) -> None:
    for milliseconds in range(300):
        monitor.record("risk", milliseconds)
    found = monitor.get_latency_statistics("risk")
    assert found == pytest.approx(
        {"count": 100, "mean": 249.5, "median": 249.5, "p95": 294.05, "p99": 298.01, "min": 200, "max": 299}
    )
    assert monitor.get_latency_statistics("risk", window=1)["p99"] == 299


@pytest.mark.parametrize("window", [0, VALUES_KEPT + 1])
def test_a_window_has_values_that_are_kept(monitor: LatencyMonitor, window: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        monitor.get_latency_statistics("risk", window)


def test_a_stage_without_values_has_no_statistics(monitor: LatencyMonitor) -> None:
    found = monitor.get_latency_statistics("risk")
    assert found.pop("count") == 0
    assert all(math.isnan(each) for each in found.values())


@given(DURATIONS)
def test_quantiles_lie_in_order_between_the_extremes(values: list[float]) -> None:
    ordered = sorted(values)
    found = [quantile(ordered, q) for q in (0, 0.5, 0.95, 0.99, 1)]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (ordered[0], ordered[-1])


def test_functions_are_measured_and_return_what_they_return(monitor: LatencyMonitor) -> None:
    assert monitor.measure("risk", divmod, 7, 2) == (3, 1)
    assert monitor.measure("risk", partial(int, "11", base=2)) == 3
    assert count(monitor, "risk") == 2


def test_a_function_that_fails_is_measured(monitor: LatencyMonitor) -> None:
    with pytest.raises(ZeroDivisionError):
        monitor.measure("risk", divmod, 1, 0)
    with pytest.raises(KeyError), monitor.stage("risk"):
        raise KeyError
    assert count(monitor, "risk") == 2


def test_a_coroutine_function_is_measured_when_it_is_awaited(monitor: LatencyMonitor) -> None:
    async def double(value: int) -> int:
        await asyncio.sleep(0)
        return 2 * value

    async def main() -> tuple[int, float, int]:
        awaited = monitor.measure("risk", lambda: double(4))
        before = count(monitor, "risk")
        return await awaited, before, await monitor.measure("risk", double, 5)

    assert asyncio.run(main()) == (8, 0, 10)
    assert count(monitor, "risk") == 2


def test_blocks_are_measured_also_nested_and_async(monitor: LatencyMonitor) -> None:
    async def main() -> None:
        async with monitor.stage("total_pipeline") as whole:
            with monitor.stage("risk") as part:
                await asyncio.sleep(0)
        assert 0 < part.milliseconds < whole.milliseconds

    asyncio.run(main())
    assert [count(monitor, stage) for stage in ("risk", "total_pipeline")] == [1, 1]


def test_a_cancelled_block_is_measured(monitor: LatencyMonitor) -> None:
    async def main() -> None:
        async with asyncio.timeout(0):
            async with monitor.stage("risk"):
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert count(monitor, "risk") == 1


def test_threads_lose_no_value(monitor: LatencyMonitor, registry: CollectorRegistry) -> None:
    def work() -> None:
        for _ in range(2000):
            monitor.record("risk", 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    name = "program_stage_duration_seconds"
    assert registry.get_sample_value(f"{name}_count", {"stage": "risk"}) == 16_000
    assert registry.get_sample_value(f"{name}_sum", {"stage": "risk"}) == pytest.approx(16)
    assert monitor.get_latency_statistics("risk", VALUES_KEPT)["count"] == VALUES_KEPT


def test_stages_are_bounded(monitor: LatencyMonitor) -> None:
    for number in range(STAGES_MAX + 10):
        monitor.record(f"stage {number}", 1)
    assert len(monitor.get_stages()) == STAGES_MAX + 1
    assert count(monitor, "__other__") == 10


def test_bottlenecks_come_worst_first_with_their_share(monitor: LatencyMonitor) -> None:
    for _ in range(50):
        monitor.record("data_processing", 60)
        monitor.record("signal_generation", 100)
        monitor.record("order_execution", 40)
    found = monitor.identify_bottlenecks()
    assert [each.stage for each in found] == ["signal_generation", "data_processing"]
    assert [each.excess for each in found] == pytest.approx([5, 1.2])
    assert [each.share for each in found] == pytest.approx([0.5, 0.3])


def test_shares_are_of_the_whole_pipeline_where_it_is_recorded(monitor: LatencyMonitor) -> None:
    for _ in range(50):
        monitor.record("signal_generation", 50)
        monitor.record("total_pipeline", 200)
    assert {each.stage: each.share for each in monitor.identify_bottlenecks()} == {
        "signal_generation": 0.25,
        "total_pipeline": 1.0,
    }


def test_shares_are_of_the_time_for_which_all_stages_have_values(registry: CollectorRegistry) -> None:
    clock = Clock()
    monitor = LatencyMonitor(collector=MetricsCollector(registry=registry), clock=clock)
    for _ in range(100):  # 50 calls of the cache in each run: more than are kept
        clock.now += 1
        monitor.record("order_execution", 50)
        for _ in range(50):
            monitor.record("cache_access", 1)
    assert monitor.get_shares() == pytest.approx({"order_execution": 0.5, "cache_access": 0.5}, abs=0.03)


@pytest.mark.parametrize("slow", [0, 1, 19])
def test_few_values_are_no_bottleneck(monitor: LatencyMonitor, slow: int) -> None:
    for _ in range(slow):
        monitor.record("risk", 1e6)
        monitor.record("signal_generation", 1e6)
    assert monitor.identify_bottlenecks() == []


def test_a_stage_without_threshold_is_no_bottleneck(monitor: LatencyMonitor) -> None:
    for _ in range(100):
        monitor.record("risk", 1e6)
    assert monitor.identify_bottlenecks() == []


def test_a_stage_at_its_threshold_is_no_bottleneck(monitor: LatencyMonitor) -> None:
    for _ in range(100):
        monitor.record("signal_generation", 20)
    assert monitor.identify_bottlenecks() == []
