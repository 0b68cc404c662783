"""Resources of the machine and of processes are sampled while these run."""

import os
import subprocess
import sys
import time

import pytest

from exporter.loadtest.own_processor import OwnProcessor
from exporter.loadtest.resources import OWN, Sampler
from tests.support.waiting import eventually

BUSY = "while True: pass"
IDLE = "input()"


def test_a_busy_process_is_told_from_an_idle_one_until_it_ends() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", BUSY]) as busy,
        subprocess.Popen([sys.executable, "-c", IDLE], stdin=subprocess.PIPE) as idle,
    ):
        sampler = Sampler({"busy": busy.pid, "nobody": 2**22 + 1}, time.monotonic(), interval_seconds=0.05)
        sampler.add("idle", idle.pid)
        sampler.start()
        eventually(lambda: any("idle" in sample.processes for sample in sampler.samples()[2:]))
        busy.kill()
        busy.wait()
        eventually(lambda: "busy" not in sampler.samples()[-1].processes)
        idle.kill()
    eventually(lambda: "idle" not in sampler.samples()[-1].processes)
    sampler.stop()
    first, *_, last = sampler.samples()
    assert first.processes.keys() == {OWN, "busy", "idle"}
    assert last.processes.keys() == {OWN}
    spent = {
        name: sum(sample.processes[name].cpu_cores for sample in sampler.samples() if name in sample.processes)
        for name in ("busy", "idle")
    }
    assert spent["busy"] > spent["idle"]
    assert [sample.at for sample in sampler.samples()] == sorted(sample.at for sample in sampler.samples())


def test_a_short_run_has_a_sample_of_its_machine() -> None:
    sampler = Sampler({}, time.monotonic())
    sampler.start()
    sampler.stop()
    (sample,) = sampler.samples()
    machine, own = sample.machine, sample.processes[OWN]
    assert 0 < machine.memory_used_bytes < machine.memory_total_bytes
    assert own.memory_bytes > 1_000_000
    assert machine.cpu_cores >= 0
    assert (machine.network_sent_bytes_per_second or 0) >= 0
    assert 0 <= own.cpu_cores <= (os.cpu_count() or 1)
    assert own.busiest_thread_cores is not None
    assert 0 <= own.busiest_thread_cores <= 1


COMPUTES = """
import sys, time
print(flush=True)
sys.stdin.read(1)
until = time.process_time() + 0.3
while time.process_time() < until: pass
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("computes", [True, False])
def test_a_process_that_computes_all_the_time_is_the_limit_however_little_of_a_processor_it_gets(
    computes: bool,
) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", COMPUTES], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        own = OwnProcessor({"load": process.pid})
        if computes:
            process.stdin.write("x")
            process.stdin.flush()
            process.stdout.readline()
        limit = own.limit()
        process.stdin.close()
    assert limit.startswith("load used ") is computes
    assert OwnProcessor({"gone": 2**22 + 1}).limit() == ""
