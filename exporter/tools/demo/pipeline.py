"""A simulated trading program, which measures itself with `exporter.performance` and pushes to the sidecar."""

from __future__ import annotations

import random
import threading
from importlib.util import find_spec

from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector, PushStorage
from exporter.performance import LatencyMonitor, PerformanceSystem, ThroughputOptimizer

JOB, INSTANCE = "signals", "demo"
# The typical milliseconds of each stage; generating signals takes longer than its threshold of 20.
STAGES = {"data_processing": 8.0, "signal_generation": 28.0, "order_execution": 15.0}
TICKS = 50
# Ticks for each second of work, of which the slow stage lets it reach two thirds.
TARGET = 1500.0
_PUSH_SECONDS = 1.0
_PAUSE_SECONDS = 0.2


class Pipeline:
    """A thread that takes batches of ticks through the stages, until it is stopped. Its stages wait, they do not work.

    It has the processor, the memory and alerts where the extra `performance` is installed.
    """

    def __init__(self, url: str, seed: int) -> None:
        storage = PushStorage(url, JOB, grouping_key={"instance": INSTANCE}, timeout=2.0, attempts=1)
        self._collector = MetricsCollector(storage, registry=CollectorRegistry())
        self._system = PerformanceSystem(collector=self._collector) if find_spec("psutil") else None
        self._latency = self._system.latency if self._system else LatencyMonitor(collector=self._collector)
        self._throughput = self._system.throughput if self._system else ThroughputOptimizer(collector=self._collector)
        self._random = random.Random(seed)  # noqa: S311 - a simulation
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-pipeline", daemon=True)

    def start(self) -> None:
        """Begin, and push every second."""
        self._throughput.set_target("ticks", TARGET)
        if self._system:
            self._system.start()
        self._thread.start()
        self._collector.push_every(_PUSH_SECONDS)

    def stop(self) -> None:
        """End, and delete what was pushed."""
        self._stopped.set()
        self._thread.join()
        if self._system:
            self._system.stop()
        self._collector.close()

    def _run(self) -> None:
        while not self._stopped.wait(_PAUSE_SECONDS):
            with self._latency.stage("total_pipeline") as whole:
                for stage, typical_ms in STAGES.items():
                    with self._latency.stage(stage):
                        self._stopped.wait(typical_ms * self._random.uniform(0.7, 1.3) / 1000)
            self._throughput.observe("ticks", TICKS, whole.milliseconds / 1000)
