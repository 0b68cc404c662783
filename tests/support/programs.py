"""A program that measures itself, with the metrics that `exporter.performance` makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector

STAGES = {"total_pipeline": (100, 0.06), "data_processing": (50, 0.012), "signal_generation": (20, 0.03)}
SLOW = "signal_generation"
MIB = 1024**2


def measured(stages: Mapping[str, tuple[float, float]] = STAGES) -> MetricsCollector:
    """Return metrics of a trading program; `stages` have a threshold in milliseconds and a duration in seconds."""
    collector = MetricsCollector(registry=CollectorRegistry())
    for stage, (threshold_ms, seconds) in stages.items():
        labels = {"stage": stage}
        durations = collector.summary("program_stage_duration_seconds", "Time of a stage.", labels=labels)
        for part in range(1, 101):
            durations.observe(seconds * (0.5 + part / 100))
        gauge(collector, "program_stage_threshold_seconds", threshold_ms / 1000, **labels)
    operate(collector)
    gauge(collector, "program_operation_target_items_per_second", 1000, operation="score")
    gauge(collector, "program_operation_batch_size", 64, operation="score")
    gauge(collector, "program_operation_workers", 4, operation="score")
    cached(collector)
    handled(collector)
    used(collector)
    return collector


def gauge(collector: MetricsCollector, name: str, value: float, **labels: str) -> None:
    """Set a gauge."""
    collector.gauge(name, "A gauge.", labels=labels).set(value)


def count(collector: MetricsCollector, name: str, value: float, **labels: str) -> None:
    """Add to a counter."""
    collector.counter(name, "A counter.", labels=labels).increment(value)


def operate(collector: MetricsCollector, items: float = 4500, seconds: float = 5) -> None:
    """Work on so many items in so much time."""
    count(collector, "program_operation_items_total", items, operation="score")
    count(collector, "program_operation_seconds_total", seconds, operation="score")


def cached(collector: MetricsCollector) -> None:
    """Have a cache: of 1000 reads memory answers 900, three of them with nothing, and Redis 60."""
    reads = {("memory", "hit"): 897, ("memory", "negative"): 3, ("memory", "miss"): 100}
    reads |= {("redis", "hit"): 60, ("redis", "miss"): 38, ("redis", "error"): 2, ("loader", "hit"): 40}
    for (tier, result), number in reads.items():
        count(collector, "program_cache_requests_total", number, cache="prices", tier=tier, result=result)
    gauge(collector, "program_cache_entries", 950, cache="prices")
    gauge(collector, "program_cache_capacity", 1000, cache="prices")
    collector.summary("program_cache_load_duration_seconds", "Loads.", labels={"cache": "prices"}).observe(0.004)


def handled(collector: MetricsCollector) -> None:
    """Have an event bus with a full and an empty queue, a breaker that is open, and retries."""
    for handler, waiting in (("risk", 990), ("audit", 0)):
        labels = {"bus": "orders", "handler": handler}
        gauge(collector, "program_bus_queue_length", waiting, **labels)
        gauge(collector, "program_bus_queue_capacity", 1000, **labels)
        count(collector, "program_bus_events_total", 5000, event="order", result="handled", **labels)
        count(collector, "program_bus_events_total", 12, event="order", result="timed_out", **labels)
        durations = collector.summary("program_bus_duration_seconds", "Handlers.", labels=labels)
        durations.observe(0.002)
        drop(collector, handler, 3 if handler == "risk" else 0)
    gauge(collector, "program_breaker_state", 2, breaker="orders-api")
    count(collector, "program_breaker_transitions_total", 3, breaker="orders-api", state="open")
    for result, number in (("retried", 7), ("succeeded", 5), ("gave_up", 2)):
        count(collector, "program_retries_total", number, operation="send_order", result=result)


def drop(collector: MetricsCollector, handler: str, events: int) -> None:
    """Lose so many events because the queue of a handler is full."""
    labels = {"bus": "orders", "handler": handler}
    count(collector, "program_bus_dropped_total", events, reason="full", **labels)
    count(collector, "program_bus_events_total", events, event="order", result="dropped", **labels)


def used(collector: MetricsCollector, **changes: float) -> None:
    """Use processor, memory, disk and network."""
    gauges: dict[str, Any] = {
        "program_cpu_usage_ratio": 0.93,
        "program_memory_bytes": 700 * MIB,
        "program_memory_limit_bytes": 1000 * MIB,
        "program_memory_growth_bytes_per_second": 0.5 * MIB,
        "program_threads": 12,
        "program_machine_cpu_usage_ratio": 0.41,
        "program_machine_memory_used_ratio": 0.62,
    }
    for name, value in (gauges | changes).items():
        gauge(collector, name, value)
    for name in ("disk_read", "disk_written", "network_received", "network_sent"):
        count(collector, f"program_machine_{name}_bytes_total", 3 * MIB)
    gauge(collector, "program_alert_active", 1, alert="cpu", subject="")
    gauge(collector, "program_alert_active", 1, alert="latency", subject=SLOW)
    gauge(collector, "program_alert_active", 0, alert="memory", subject="")
