"""Advice has a figure beyond its threshold behind it: each failure is named, and a healthy program gets none."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector
from exporter.performance import MemoryManager, MemoryReading, PerformanceSystem, RealtimeMetricsCollector
from exporter.performance.advice import Facts, MachineUse, MemoryUse, recommendations
from exporter.performance.alerts import CLEAR_SECONDS, RAISE_SECONDS, AlertState, Level
from exporter.performance.machine import Reading, figures, reader

MB = 10**6
STAGES = {"data_processing": 10.0, "model_inference": 40.0, "signal_generation": 5.0, "order_execution": 20.0}


class Cache:
    """The figures of a cache."""

    name = "prices"

    def __init__(self) -> None:
        self.found = {"entries": 1000, "capacity": 1000, "evictions": 0, "requests": 0, "hits": 0}

    def get_cache_statistics(self) -> dict[str, int]:
        """See CacheFigures."""
        return dict(self.found)

    def read(self, requests: int, hit_rate: float, evictions: float) -> None:
        """Count requests, with a rate of hits and of evictions."""
        self.found["requests"] += requests
        self.found["hits"] += round(requests * hit_rate)
        self.found["evictions"] += round(requests * evictions)


class Bus:
    """The figures of an event bus with one handler."""

    name = "orders"

    def __init__(self) -> None:
        self.found = {"dropped": 0, "queue_length": 0, "queue_capacity": 100}

    def get_statistics(self) -> dict[str, Any]:
        """See BusFigures."""
        return {"handlers": {"send": dict(self.found)}}


class Program:
    """A trading program of which a test says what happens in each second; it is healthy until told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.random = random.Random(1)
        self.registry = CollectorRegistry()
        collector = MetricsCollector(registry=self.registry)
        self.cpu = self.thread = 0.2
        self.machine_cpu = 0.3
        self.memory = 300.0 * MB
        self.durations = dict(STAGES)
        self.ticks = 20
        self.batch = 500
        self.cost: Callable[[int], float] = lambda size: 0.001 + 0.0001 * size
        self.batches = 4
        self.hit_rate, self.evictions = 0.95, 0.02
        self.cache, self.bus = Cache(), Bus()
        self._reading = Reading(self.now, 4, 0, {1: 0}, 0, 0, 0, 0.4, 0, 0, 0, 0)
        self.system = PerformanceSystem(
            memory=MemoryManager(collector=collector, clock=self.clock, read=self.read_memory),
            realtime=RealtimeMetricsCollector(collector=collector, read=lambda: self._reading),
            caches=[self.cache],
            buses=[self.bus],
            collector=collector,
            clock=self.clock,
        )
        self.system.throughput.set_target("insert", 5000)

    def clock(self) -> float:
        return self.now

    def read_memory(self) -> MemoryReading:
        size = round(self.memory)
        return MemoryReading(size, size, 1000 * MB, 2000 * MB, 8000 * MB)

    def run(self, seconds: int, change: Callable[[int], object] = lambda second: None) -> None:
        """Let so many seconds pass; `change` is called with the number of each."""
        for second in range(seconds):
            change(second)
            self.now += 1
            for _ in range(self.ticks):
                self._tick()
            for _ in range(self.batches):
                size = max(1, round(self.batch * self.random.choice((0.5, 0.75, 1))))
                spent = self.cost(size) * self.random.lognormvariate(0, 0.05)
                self.system.throughput.observe("insert", size, spent)
            self.cache.read(200, self.hit_rate, self.evictions)
            self._read()

    def _tick(self) -> None:
        taken = {stage: ms * self.random.lognormvariate(0, 0.1) for stage, ms in self.durations.items()}
        for stage, ms in {**taken, "total_pipeline": sum(taken.values())}.items():
            self.system.latency.record(stage, ms)

    def _read(self) -> None:
        before = self._reading
        self._reading = before._replace(
            at=self.now,
            cpu_seconds=before.cpu_seconds + 4 * self.cpu,
            thread_seconds={1: before.thread_seconds[1] + self.thread},
            machine_busy_seconds=before.machine_busy_seconds + 8 * self.machine_cpu,
            machine_seconds=before.machine_seconds + 8,
            memory_bytes=round(self.memory),
        )
        self.system.realtime.collect_once()

    def advice(self) -> list[tuple[str, str]]:
        """What is recommended; each recommendation has a figure beyond its threshold."""
        found = self.system.generate_optimization_recommendations()
        for each in found:
            assert each["figure"] != each["threshold"]
            assert each["change"]
        return [(each["kind"], each["about"]) for each in found]

    def alerts(self) -> list[tuple[str, str]]:
        return [(each["alert"], each["subject"]) for each in self.system.get_alerts()]


@pytest.fixture
def program() -> Program:
    """A program that has been healthy for two minutes."""
    made = Program()
    made.run(120)
    assert (made.advice(), made.alerts()) == ([], [])
    return made


def test_a_slow_stage_is_named(program: Program) -> None:
    program.durations["signal_generation"] = 30
    program.durations["data_processing"] = 1
    program.run(60)
    assert program.advice() == [("latency", "signal_generation"), ("latency", "total_pipeline")]
    slow, whole = program.system.generate_optimization_recommendations()
    assert slow["figure"] == pytest.approx(35, rel=0.1)
    assert slow["threshold"] == 20
    assert "33%" in slow["change"]
    assert "begin with model_inference" in whole["change"]
    assert program.alerts() == [("latency", "signal_generation"), ("latency", "total_pipeline")]


def test_a_thrashing_cache_is_named(program: Program) -> None:
    program.hit_rate, program.evictions = 0.3, 0.7
    program.run(60)
    assert program.advice() == [("cache", "prices")]
    assert program.system.generate_optimization_recommendations()[0]["figure"] == pytest.approx(0.3, abs=0.02)


def test_a_leak_is_named(program: Program) -> None:
    def leak(second: int) -> None:
        program.memory += 0.5 * MB

    program.run(240, leak)
    assert program.advice() == [("leak", "program")]
    assert program.system.generate_optimization_recommendations()[0]["figure"] == pytest.approx(1160, rel=0.2)
    assert program.alerts() == []


def test_memory_that_is_nearly_used_up_is_named(program: Program) -> None:
    program.memory = 850 * MB
    program.run(60)
    assert program.advice() == [("memory", "program")]
    assert program.alerts() == [("memory", "")]


def test_a_saturated_core_is_named(program: Program) -> None:
    program.cpu, program.thread = 0.28, 0.99
    program.run(60)
    assert program.advice() == [("core", "busiest thread")]
    assert program.alerts() == []


def test_a_program_that_uses_all_its_cores_is_named(program: Program) -> None:
    program.cpu, program.thread, program.machine_cpu = 0.97, 0.9, 0.9
    program.run(60)
    assert program.advice() == [("cpu", "program")]
    assert program.alerts() == [("cpu", "")]


def test_a_machine_that_others_use_is_named(program: Program) -> None:
    program.machine_cpu = 0.95
    program.run(60)
    assert program.advice() == [("cpu", "machine")]


def test_a_batch_size_that_is_too_small_is_named(program: Program) -> None:
    program.system.throughput.set_target("insert", 100)
    program.batch, program.batches, program.cost = 20, 30, lambda size: 0.02 + 0.0001 * size
    program.run(120)
    assert program.advice() == [("batch_size", "insert")]
    found = program.system.generate_optimization_recommendations()[0]
    assert found["figure"] == pytest.approx(15, rel=0.1)
    assert found["threshold"] == pytest.approx(1800, rel=0.3)


def test_throughput_under_its_target_is_named(program: Program) -> None:
    program.cost = lambda size: 0.001 + 0.001 * size
    program.run(90)
    assert program.advice() == [("throughput", "insert")]
    assert program.alerts() == [("throughput", "insert")]


def test_a_handler_that_drops_events_is_named(program: Program) -> None:
    def drop(second: int) -> None:
        program.bus.found["dropped"] += 1

    program.run(10, drop)
    assert program.advice() == [("bus", "orders/send")]
    program.run(70)
    assert program.advice() == []


def test_a_queue_that_is_nearly_full_is_named(program: Program) -> None:
    program.bus.found["queue_length"] = 90
    assert program.advice() == [("bus", "orders/send")]


def test_several_failures_are_named_together(program: Program) -> None:
    program.durations["order_execution"] = 80
    program.hit_rate, program.evictions = 0.3, 0.7
    program.cpu, program.thread = 0.28, 0.99
    program.cost = lambda size: 0.001 + 0.001 * size
    program.run(90)
    kinds = [kind for kind, _ in program.advice()]
    assert kinds == ["latency", "latency", "throughput", "cache", "core"]


def test_advice_ends_with_its_reason(program: Program) -> None:
    program.durations["signal_generation"], program.hit_rate, program.evictions = 30, 0.3, 0.7
    program.run(60)
    assert program.advice()
    program.durations, program.hit_rate, program.evictions = dict(STAGES), 0.95, 0.02
    program.run(70)
    assert (program.advice(), program.alerts()) == ([], [])


def burst(program: Program, second: int) -> None:
    """A busy second in each minute: more ticks, slow stages, a full processor, a cache that is filled."""
    is_burst = second % 60 == 30
    program.ticks = 30 if is_burst else 20
    program.durations = {stage: 4 * ms if is_burst else ms for stage, ms in STAGES.items()}
    program.cpu = program.thread = program.machine_cpu = 1.0 if is_burst else 0.2
    program.hit_rate, program.evictions = (0.2, 0.8) if is_burst else (0.95, 0.02)
    program.memory = (500 if is_burst else 300 + second % 20) * MB


def idle(program: Program, second: int) -> None:
    """Nothing happens but for a small batch every quarter of a minute, which is no batch size that is too small."""
    program.ticks, program.batches, program.batch = 0, int(second % 15 == 0), 5


def new_keys(program: Program, second: int) -> None:
    """A cache misses much, but has room: a larger one would not help."""
    program.hit_rate, program.evictions, program.cache.found["entries"] = 0.1, 0.0, 400


def warming_up(program: Program, second: int) -> None:
    """Memory grows ever more slowly."""
    program.memory += (700 * MB - program.memory) / 40


@pytest.mark.parametrize("story", [burst, idle, new_keys, warming_up])
def test_a_healthy_program_gets_no_advice_and_no_alert(program: Program, story: Callable[[Program, int], None]) -> None:
    def change(second: int) -> None:
        story(program, second)
        if second > 90 and second % 7 == 0:
            assert (program.advice(), program.alerts()) == ([], [])

    program.run(300, change)
    assert (program.advice(), program.alerts()) == ([], [])


def test_a_program_that_has_done_nothing_gets_no_advice() -> None:
    made = Program()
    assert (made.advice(), made.alerts()) == ([], [])


def test_advice_needs_no_running_system() -> None:
    made = Program()
    for _ in range(100):
        made.system.latency.record("signal_generation", 50)
    assert made.advice() == [("latency", "signal_generation")]


def test_the_report_is_json(program: Program) -> None:
    program.system.latency.record("new_stage", 1)
    program.durations["signal_generation"] = 30
    program.run(60)
    found = program.system.get_comprehensive_performance_report()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["latency"]["stages"]["signal_generation"]["threshold"] == 20
    assert found["latency"]["bottlenecks"][0]["stage"] == "signal_generation"
    assert [each["kind"] for each in found["recommendations"]] == ["latency", "latency"]
    assert [each["alert"] for each in found["alerts"]] == ["latency", "latency"]
    assert found["machine"]["cpu_usage_ratio"] == pytest.approx(0.2)


# Recommendations and alerts by themselves.


@given(st.floats(0, 0.8), st.floats(0, 0.9), st.floats(0, 0.8), st.floats(0, 0.8), st.floats(0, 0.8))
def test_figures_within_their_thresholds_are_no_advice(
    cpu: float, thread: float, machine: float, memory: float, machine_memory: float
) -> None:
    within = Facts(machine=MachineUse(cpu, thread, machine, memory, machine_memory), memory=MemoryUse(1e6, 21600, 600))
    assert recommendations(within) == []


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 20)), max_size=40), st.booleans())
def test_a_spike_is_no_alert(figures: list[tuple[float, int]], is_target: bool) -> None:
    """An alert is active only after its figure was beyond the threshold all of half a minute."""
    state, now, beyond, within = AlertState(), 0.0, 0.0, 0.0
    for figure, seconds in figures:
        for _ in range(seconds):
            level, before = Level(figure, 1.0, is_target), state.is_active
            beyond = beyond + 1 if level.is_beyond() else 0
            within = within + 1 if level.is_well_within() else 0
            active = state.update(level, now)
            assert not (active and not before) or beyond > RAISE_SECONDS
            assert not (before and not active) or within > CLEAR_SECONDS
            now += 1


def test_a_figure_about_its_threshold_keeps_an_alert() -> None:
    state = AlertState()
    active = [state.update(Level(1.05 if second < 40 or second % 2 else 0.95, 1.0), second) for second in range(200)]
    assert active.index(True) == RAISE_SECONDS
    assert all(active[30:])


def test_an_alert_without_figures_ends() -> None:
    state = AlertState()
    for second in range(40):
        state.update(Level(2.0, 1.0), second)
    assert state.update(Level(None, 1.0), 50)
    assert not state.update(Level(None, 1.0), 100)


def test_alerts_are_on_the_page(program: Program) -> None:
    labels = {"alert": "latency", "subject": "order_execution"}
    assert program.registry.get_sample_value("program_alert_active", labels) == 0
    program.durations["order_execution"] = 80
    program.run(60)
    assert program.registry.get_sample_value("program_alert_active", labels) == 1
    found = program.system.get_alerts()[0]
    assert found["subject"] == "order_execution"
    assert found["since_seconds"] >= RAISE_SECONDS
    assert found["text"].endswith(", above 50")


# The machine.


@pytest.fixture
def realtime() -> RealtimeMetricsCollector:
    """A collector of the real machine, with a history of 5 points."""
    made = MetricsCollector(registry=CollectorRegistry())
    return RealtimeMetricsCollector(collector=made, interval=0.01, points=5)


def test_figures_of_the_real_machine_are_read(realtime: RealtimeMetricsCollector) -> None:
    found = realtime.collect_once()
    assert found["memory_bytes"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert found["threads"] >= 1
    assert all(0 <= value <= 1 for name, value in found.items() if name.endswith("ratio"))
    assert set(found) == set(realtime.get_names()) == set(realtime.get_latest())


def test_history_is_bounded(realtime: RealtimeMetricsCollector) -> None:
    for _ in range(9):
        realtime.collect_once()
    assert {len(realtime.get_history(name)) for name in realtime.get_names()} == {5}
    assert realtime.get_history("unknown") == []


def reached(realtime: RealtimeMetricsCollector) -> threading.Event:
    """An event that is set after a reading."""
    found = threading.Event()
    realtime.add_listener(found.set)
    return found


def test_a_thread_reads_until_it_is_stopped(realtime: RealtimeMetricsCollector) -> None:
    with realtime:
        assert reached(realtime).wait(30)
        realtime.start()
        names = [each.name for each in threading.enumerate()]
        assert names.count("performance-realtime") == 1
    assert "performance-realtime" not in [each.name for each in threading.enumerate()]


def test_a_task_reads_where_an_event_loop_runs(realtime: RealtimeMetricsCollector) -> None:
    async def main() -> None:
        async with realtime:
            assert await asyncio.to_thread(reached(realtime).wait, 30)
            assert "performance-realtime" in [each.get_name() for each in asyncio.all_tasks()]
        assert "performance-realtime" not in [each.get_name() for each in asyncio.all_tasks()]

    asyncio.run(main())


def test_a_listener_that_fails_is_logged_once(
    realtime: RealtimeMetricsCollector, caplog: pytest.LogCaptureFixture
) -> None:
    calls, done = iter([0, 0, 0, 1]), threading.Event()

    def listener() -> None:
        if next(calls, 1):
            done.set()
        raise RuntimeError("broken")

    realtime.add_listener(listener)
    with realtime:
        assert done.wait(30)
    assert [each.getMessage() for each in caplog.records] == ["figures cannot be read, retrying: RuntimeError: broken"]


def test_a_listener_that_fails_does_not_keep_others_from_their_call(realtime: RealtimeMetricsCollector) -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    realtime.add_listener(broken)
    called = reached(realtime)
    with pytest.raises(RuntimeError, match="broken"):
        realtime.collect_once()
    assert called.is_set()


def test_bytes_of_the_machine_are_counted_once_in_a_registry() -> None:
    """Two readers do not see twice the traffic, and one that comes later counts what it has seen itself."""
    registry, first = CollectorRegistry(), reader("test")()
    readings = [first._replace(at=float(at), network_sent_bytes=100 * at) for at in range(9)]

    def reading(*indexes: int) -> RealtimeMetricsCollector:
        found = iter([readings[index] for index in indexes])
        return RealtimeMetricsCollector(collector=MetricsCollector(registry=registry), read=lambda: next(found))

    one, other = reading(0, 1, 3), reading(0, 2, 4)
    for each in (one, other, one, other):
        each.collect_once()
    assert registry.get_sample_value("program_machine_network_sent_bytes_total") == 400
    late = reading(6, 7)
    late.collect_once()
    assert registry.get_sample_value("program_machine_network_sent_bytes_total") == 500


def test_an_event_loop_that_was_closed_neither_keeps_it_running_nor_from_its_end(
    realtime: RealtimeMetricsCollector,
) -> None:
    async def start() -> None:
        realtime.start()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())
    tasks = asyncio.all_tasks(loop)
    loop.close()
    realtime.start()
    assert reached(realtime).wait(30)  # by a thread
    realtime.stop()
    asyncio.run(start())  # ends with its event loop
    realtime.stop()
    asyncio.run(realtime.aclose())
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is what this test is about


FORK = """
import os, sys, threading
from prometheus_client import CollectorRegistry
from exporter.instrument import MetricsCollector
from exporter.performance import PerformanceSystem
system = PerformanceSystem(collector=MetricsCollector(registry=CollectorRegistry()))
system.realtime._interval = 0.01
system.start()
# Another thread holds all locks at the fork.
held = threading.Event()
def hold():
    with system._lock, system.realtime._lock, system.memory._lock:
        held.set()
        threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
if (child := os.fork()) == 0:
    read = threading.Event()
    system.realtime.add_listener(read.set)
    system.start()
    own = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    found = system.memory.read().process_bytes
    os._exit(0 if read.wait(30) and abs(found - own) < 0.2 * own else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_starts_it_again_and_measures_itself() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("parts", [{"caches": [Cache(), Cache()]}, {"buses": [Bus(), Bus()]}])
def test_parts_of_one_name_are_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="name of its own"):
        PerformanceSystem(collector=MetricsCollector(registry=CollectorRegistry()), **parts)


SPIN = """
import threading, time
from exporter.performance.machine import figures, reader

def work():
    while True:
        pass

read = reader("test")
busy = threading.Thread(target=work, daemon=True)
before = read()
busy.start()
clock = time.pthread_getcpuclockid(busy.ident)
while time.clock_gettime(clock) < 0.5:
    time.sleep(0.02)
least = time.clock_gettime(clock)
now = read()
found, seconds = figures(before, now), now.at - before.at
most = time.clock_gettime(clock)
print(least, found["busiest_thread_ratio"] * seconds, most, found["cpu_usage_ratio"] * now.cores * seconds)
"""


def test_a_core_that_is_saturated_shows() -> None:
    """In seconds of the processor: how much of a core a thread gets depends on what else the machine does."""
    done = subprocess.run([sys.executable, "-c", SPIN], capture_output=True, text=True, check=True)
    least, thread, most, cpu = map(float, done.stdout.split())
    assert least - 0.02 <= thread <= most + 0.02  # the kernel counts in hundredths
    assert least - 0.02 <= cpu


def test_a_counter_that_is_set_back_is_no_traffic() -> None:
    now = reader("test")()
    found = figures(now._replace(disk_read_bytes=now.disk_read_bytes + 10**9), now)
    assert found["machine_disk_read_bytes_per_second"] == 0


def test_a_program_without_psutil_gets_the_command_that_installs_it() -> None:
    code = "import sys; sys.modules['psutil'] = None; import exporter.performance as p; p.PerformanceSystem()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: MemoryManager needs psutil: pip install 'marketdata-exporter[performance]'"
    )


def test_latency_and_throughput_need_no_library() -> None:
    code = """
import sys
sys.modules["psutil"] = None
from exporter.performance import LatencyMonitor, ThroughputOptimizer
LatencyMonitor().record("risk", 1), ThroughputOptimizer().observe("insert", 1, 1)
heavy = {"aiohttp", "confluent_kafka", "redis", "numpy", "numba", "onnxruntime", "cachetools", "tenacity", "requests"}
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
