"""Memory beside its limit: trends that noise, garbage and warm-up do not make, and the limits of control groups."""

from __future__ import annotations

import gc
import json
import math
import random
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector
from exporter.performance import MemoryManager, MemoryReading
from exporter.performance.limits import cores, memory_limit, memory_used
from exporter.performance.trend import Point, growth, line

MB = 10**6
LEAKER = Path(__file__).parent / "support" / "leaker.py"


def manager(**options: object) -> MemoryManager:
    """A manager whose metrics are its own."""
    made = MetricsCollector(registry=CollectorRegistry())
    return MemoryManager(collector=made, **options)  # type: ignore[arg-type]


def sampled(used: Callable[[int], float], seconds: int = 300, limit: int = 1000 * MB) -> MemoryManager:
    """A manager after samples of a second each."""
    now = [0]

    def read() -> MemoryReading:
        size = round(used(now[0]))
        return MemoryReading(size, size, limit, 2000 * MB, 8000 * MB)

    made = manager(clock=lambda: float(now[0]), read=read)
    for second in range(seconds):
        now[0] = second
        made.sample()
    return made


@given(st.floats(-1e6, 1e6), st.floats(-1e9, 1e9), st.integers(8, 200))
def test_a_line_goes_through_points_on_it(slope: float, start: float, number: int) -> None:
    found = line([(float(x), start + slope * x) for x in range(number)])
    assert found is not None
    assert found.slope == pytest.approx(slope, rel=1e-6, abs=1e-5)
    assert found.at_end == pytest.approx(start + slope * (number - 1), rel=0.02, abs=abs(slope) * 3 + 1e-3)


def test_wrong_points_do_not_bend_a_line() -> None:
    made = random.Random(1)
    points: list[Point] = [(x, 1e9 if made.random() < 0.2 else 2.0 * x) for x in map(float, range(60))]
    found = line(points)
    assert found is not None
    assert found.slope == pytest.approx(2, rel=0.1)


def test_noise_has_no_certain_trend() -> None:
    made = random.Random(2)
    lines = [line([(float(x), made.random()) for x in range(60)]) for _ in range(400)]
    assert sum([each is not None and each.is_certain for each in lines]) <= 8


@pytest.mark.parametrize("number", [0, 1, 7])
def test_few_points_have_no_line(number: int) -> None:
    assert line([(float(x), float(x)) for x in range(number)]) is None


def test_points_of_one_moment_have_no_line() -> None:
    assert line([(1.0, float(x)) for x in range(20)]) is None


def test_a_leak_has_a_time_to_the_limit() -> None:
    made = random.Random(4)
    trend = sampled(lambda second: (100 + second) * MB + made.gauss(0, 5 * MB)).get_memory_trend()
    assert trend["bytes_per_second"] == pytest.approx(MB, rel=0.1)
    assert trend["seconds_to_limit"] == pytest.approx(601, rel=0.1)


@pytest.mark.parametrize(
    "used",
    [
        lambda second: 500 * MB,
        lambda second: 500 * MB + random.Random(second).gauss(0, 20 * MB),
        lambda second: (500 - second) * MB,
        lambda second: 500 * MB - 400 * MB * math.exp(-second / 40),  # caches that fill
        lambda second: (500 + second % 20) * MB,  # garbage until the next collection
        lambda second: (500 + 100 * (second > 150)) * MB,  # a table that is loaded
    ],
    ids=["steady", "noisy", "falling", "warming up", "collected", "a step"],
)
def test_memory_that_is_bounded_has_no_time_to_the_limit(used: Callable[[int], float]) -> None:
    assert sampled(used).get_memory_trend()["seconds_to_limit"] is None


@pytest.mark.parametrize(("used", "shown"), [(lambda x: MB * x, MB), (lambda x: MB * min(x, 30), 0)])
def test_the_page_has_growth_only_while_memory_is_growing(used: Callable[[int], float], shown: float) -> None:
    """A start fills memory too: what divides the rest of the limit by that foretells an end that does not come."""
    made = sampled(used, seconds=60)
    assert made._growth.get_value() == pytest.approx(shown)


def test_a_leak_shows_under_garbage() -> None:
    trend = sampled(lambda second: (300 + second + 3 * (second % 20)) * MB).get_memory_trend()
    assert trend["is_growing"]
    assert trend["bytes_per_second"] == pytest.approx(MB, rel=0.2)


def test_growth_needs_points_in_each_part() -> None:
    assert growth([(float(x), float(x)) for x in range(15)]) is None
    assert growth([(float(x), float(x)) for x in range(16)]) == (1, 15, 15)


def test_a_program_that_leaks_reaches_its_limit_when_it_was_said() -> None:
    """A real process is looked at from within while it leaks, and at half the way to its limit."""
    done = subprocess.run([sys.executable, str(LEAKER)], capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(done.stdout)
    assert found["foretold_seconds"] == pytest.approx(found["seconds"], rel=0.2)


@pytest.mark.parametrize(("ratio", "level"), [(0.69, "normal"), (0.7, "warning"), (0.79, "warning"), (0.8, "critical")])
def test_levels_are_those_of_the_thresholds(ratio: float, level: str) -> None:
    made = manager(read=lambda: MemoryReading(1, round(ratio * 1000), 1000, 0, 1000))
    assert made.get_memory_statistics()["level"] == level


def test_the_memory_of_the_machine_counts_too() -> None:
    made = manager(read=lambda: MemoryReading(1, 1, 1000, 900, 1000))
    assert made.get_memory_statistics()["level"] == "critical"


def test_real_figures_are_those_of_the_process() -> None:
    found = manager(limit_bytes=10**15).get_memory_statistics()
    assert found["process_bytes"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert found["limit_bytes"] == 10**15
    assert found["machine_total_bytes"] == psutil.virtual_memory().total
    assert manager().get_memory_statistics()["limit_bytes"] <= psutil.virtual_memory().total


def test_memory_is_given_back() -> None:
    class Node:
        def __init__(self) -> None:
            self.itself = self

    gc.disable()
    try:
        gone = weakref.ref(Node())
        cache = {"key": "value"}
        made = manager()
        made.register_cache("prices", cache.clear)
        made.register_cache("broken", lambda: 1 / 0)
        done = made.optimize_memory()
        assert gone() is None
    finally:
        gc.enable()
    assert cache == {}
    assert done["caches"] == ["prices"]
    assert done["errors"] == {"broken": "ZeroDivisionError: division by zero"}
    assert done["collected"] > 0


@pytest.mark.parametrize("options", [{"limit_bytes": 0}, {"warning_ratio": 0.9}, {"critical_ratio": 1.1}])
def test_thresholds_that_mean_nothing_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"number above 0|ratios up to 1"):
        manager(**options)


class Groups:
    """A tree of control groups."""

    def __init__(self, path: Path, own: str) -> None:
        self.mount = path / "cgroup"
        self.own = path / "own"
        self.mount.mkdir()
        self.own.write_text(own)

    def write(self, file: str, text: object) -> None:
        (self.mount / file).parent.mkdir(parents=True, exist_ok=True)
        (self.mount / file).write_text(f"{text}\n")

    @property
    def paths(self) -> tuple[Path, Path]:
        return self.mount, self.own


def test_the_smallest_limit_of_version_2_counts(tmp_path: Path) -> None:
    groups = Groups(tmp_path, "0::/pod/container\n")
    assert memory_limit(*groups.paths) is None
    groups.write("pod/container/memory.max", "max")
    groups.write("pod/memory.max", 500 * MB)
    groups.write("pod/memory.current", 300 * MB)
    groups.write("pod/memory.stat", f"anon 1\ninactive_file {100 * MB}")
    groups.write("pod/container/cpu.max", "max 100000")
    groups.write("pod/cpu.max", "50000 100000")
    assert memory_limit(*groups.paths) == 500 * MB
    assert memory_used(*groups.paths) == 200 * MB
    assert cores(*groups.paths) == 0.5


def test_the_smallest_limit_of_version_1_counts(tmp_path: Path) -> None:
    groups = Groups(tmp_path, "4:memory:/pod\n1:cpu,cpuacct:/pod\n0::/\n")
    groups.write("memory/memory.limit_in_bytes", 9223372036854771712)
    assert memory_limit(*groups.paths) is None
    assert memory_used(*groups.paths) is None
    groups.write("memory/pod/memory.limit_in_bytes", 500 * MB)
    groups.write("memory/pod/memory.usage_in_bytes", 300 * MB)
    groups.write("memory/pod/memory.stat", f"inactive_file 5\ntotal_inactive_file {100 * MB}")
    groups.write("cpu/pod/cpu.cfs_quota_us", 25_000)
    groups.write("cpu/pod/cpu.cfs_period_us", 100_000)
    assert memory_limit(*groups.paths) == 500 * MB
    assert memory_used(*groups.paths) == 200 * MB
    assert cores(*groups.paths) == 0.25


def test_a_container_sees_its_own_group_at_the_root(tmp_path: Path) -> None:
    groups = Groups(tmp_path, "0::/../elsewhere\n4:memory:/docker/abc\n")
    groups.write("memory/memory.limit_in_bytes", 64 * MB)
    assert memory_limit(*groups.paths) == 64 * MB


@pytest.mark.parametrize("own", ["", "0::/\n"])
def test_a_machine_without_groups_has_no_limit(tmp_path: Path, own: str) -> None:
    groups = Groups(tmp_path, own)
    assert (memory_limit(*groups.paths), memory_used(*groups.paths)) == (None, None)
    assert cores(*groups.paths) == len(psutil.Process().cpu_affinity() or [])
