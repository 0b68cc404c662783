"""Readings of the processor, memory, disks and network of the machine and of this process."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from exporter.performance import limits
from exporter.performance.extras import require


class Reading(NamedTuple):
    """Figures at a moment (monotonic seconds); seconds and bytes but those of memory are since the start."""

    at: float
    cores: float
    cpu_seconds: float
    thread_seconds: dict[int, float]
    memory_bytes: int
    machine_busy_seconds: float
    machine_seconds: float
    machine_memory_ratio: float
    disk_read_bytes: int
    disk_written_bytes: int
    network_received_bytes: int
    network_sent_bytes: int


def reader(user: str, pid: int | None = None, extra: str = "performance") -> Callable[[], Reading]:
    """Return what reads the figures, of this process or of another, where it raises `psutil.Error` when that has ended.

    Raises `ImportError` without psutil, which `user` needs and `extra` brings.
    """
    psutil = require("psutil", user, extra)
    other = None if pid is None else psutil.Process(pid)

    def read() -> Reading:
        process = other or psutil.Process()  # each time: that of before a fork is the parent
        with process.oneshot():
            own, memory = process.cpu_times(), process.memory_info().rss
        threads = {each.id: each.user_time + each.system_time for each in process.threads()}
        times, virtual = psutil.cpu_times(), psutil.virtual_memory()
        # Time of guests is part of user time.
        whole = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        idle = times.idle + getattr(times, "iowait", 0.0)
        disk, network = psutil.disk_io_counters(), psutil.net_io_counters()  # None where there are none
        return Reading(
            monotonic(),
            limits.cores(),
            own.user + own.system,
            threads,
            memory,
            whole - idle,
            whole,
            (virtual.total - virtual.available) / virtual.total,
            disk.read_bytes if disk else 0,
            disk.write_bytes if disk else 0,
            network.bytes_recv if network else 0,
            network.bytes_sent if network else 0,
        )

    return read


def figures(before: Reading, now: Reading) -> dict[str, float]:
    """Return what is shown, from two readings: ratios, bytes, and rates in bytes a second."""
    seconds = max(1e-9, now.at - before.at)
    machine = max(1e-9, now.machine_seconds - before.machine_seconds)
    threads = [spent - before.thread_seconds.get(each, 0.0) for each, spent in now.thread_seconds.items()]
    return {
        "cpu_usage_ratio": _ratio((now.cpu_seconds - before.cpu_seconds) / seconds / now.cores),
        "busiest_thread_ratio": _ratio(max(threads, default=0.0) / seconds),
        "memory_bytes": float(now.memory_bytes),
        "threads": float(len(now.thread_seconds)),
        "machine_cpu_usage_ratio": _ratio((now.machine_busy_seconds - before.machine_busy_seconds) / machine),
        "machine_memory_used_ratio": now.machine_memory_ratio,
        **{f"machine_{name}_per_second": change / seconds for name, change in traffic(before, now).items()},
    }


def traffic(before: Reading, now: Reading) -> dict[str, float]:
    """Return the bytes between two readings; a counter that was set back, as by a device that went, adds none."""
    names = ("disk_read_bytes", "disk_written_bytes", "network_received_bytes", "network_sent_bytes")
    return {name: float(max(0, getattr(now, name) - getattr(before, name))) for name in names}


def _ratio(value: float) -> float:
    return min(1.0, max(0.0, value))
