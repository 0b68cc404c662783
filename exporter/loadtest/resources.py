"""Processor, memory, disks and network of the machine and of the processes of a run, every few seconds."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping

from exporter.loadtest.results import MachineSample, ProcessSample, Sample
from exporter.performance.extras import require
from exporter.performance.machine import Reading, reader, traffic

# Of the process of the load test among the others.
OWN = "load test"
INTERVAL_SECONDS, SAMPLES_MAX = 5.0, 2000
_USER, _EXTRA = "loadtest", "loadtest"


def interval_seconds(run_seconds: float) -> float:
    """Return the seconds between the samples of a run, of which a long one has no more than others."""
    return max(INTERVAL_SECONDS, run_seconds / SAMPLES_MAX)


class Sampler:
    """A thread that reads the figures between `start` and `stop`, and at `stop`; any thread may call the methods.

    `processes` are numbers by name; the process of the load test is one more. A process that has ended is in no sample
    from then on. Raises `ImportError` without psutil.
    """

    def __init__(
        self, processes: Mapping[str, int], started: float, interval_seconds: float = INTERVAL_SECONDS
    ) -> None:
        self._psutil = require("psutil", _USER, _EXTRA)
        self._started, self._interval_seconds = started, interval_seconds
        self._own = reader(_USER, extra=_EXTRA)
        self._before = self._own()
        self._others: dict[str, _Process] = {}
        self._samples: list[Sample] = []
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="loadtest-resources", daemon=True)
        for name, pid in processes.items():
            self.add(name, pid)

    def add(self, name: str, pid: int) -> None:
        """Sample a process as well; nothing happens if it has ended, or has this name already."""
        with self._lock:
            if name not in self._others:
                try:
                    self._others[name] = _Process(pid)
                except self._psutil.Error:
                    return

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Take the last sample, unless it is of a short time only, and end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            # Processor time is counted in hundredths of a second: over a short time it is no share.
            is_short = bool(self._samples) and time.monotonic() - self._before.at < self._interval_seconds / 5
        if not is_short:
            self._sample()

    def samples(self) -> tuple[Sample, ...]:
        """Return the samples until now."""
        with self._lock:
            return tuple(self._samples)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_seconds):
            self._sample()

    def _sample(self) -> None:
        with self._lock:
            before, self._before = self._before, self._own()
            processes = {OWN: _process(before, self._before)}
            for name, other in list(self._others.items()):
                try:
                    processes[name] = other.sample()
                except self._psutil.Error:
                    del self._others[name]
            at = time.monotonic() - self._started
            self._samples.append(Sample(at=at, machine=self._machine(before), processes=processes))

    def _machine(self, before: Reading) -> MachineSample:
        now, memory = self._before, self._psutil.virtual_memory()
        seconds = max(1e-9, now.at - before.at)
        rates = {f"{name}_per_second": change / seconds for name, change in traffic(before, now).items()}
        return MachineSample(
            cpu_cores=min(os.cpu_count() or 1, (now.machine_busy_seconds - before.machine_busy_seconds) / seconds),
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            **rates,
        )


class _Process:
    """Another process, from one reading to the next."""

    def __init__(self, pid: int) -> None:
        self._read: Callable[[], Reading] = reader(_USER, pid, _EXTRA)
        self._before = self._read()

    def sample(self) -> ProcessSample:
        """Return the figures since the last call."""
        before, self._before = self._before, self._read()
        return _process(before, self._before)


def _process(before: Reading, now: Reading) -> ProcessSample:
    seconds = max(1e-9, now.at - before.at)
    threads = [spent - before.thread_seconds.get(each, 0.0) for each, spent in now.thread_seconds.items()]
    return ProcessSample(
        cpu_cores=min(os.cpu_count() or 1, (now.cpu_seconds - before.cpu_seconds) / seconds),
        memory_bytes=now.memory_bytes,
        busiest_thread_cores=min(1.0, max(threads, default=0.0) / seconds),
    )
