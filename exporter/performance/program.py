"""What is shown of one program: its metrics as JSON, by subject. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import Metric

from exporter.performance.advice import BUSY_RATIO_MIN
from exporter.performance.counters import (
    BUS_DROPPED,
    ELAPSED,
    FIRST_TIER,
    HITS,
    ITEMS,
    LOADER,
    REQUESTS,
    SECONDS,
    STAGE_COUNT,
    STAGE_SECONDS,
    TIERS,
    dropped_by,
)
from exporter.performance.figures import Counters, Figures, ratio

# The stage that holds all others: their shares are shares of it.
TOTAL = "total_pipeline"
QUANTILES = {"p50_seconds": "0.5", "p95_seconds": "0.95", "p99_seconds": "0.99"}
DURATION, THRESHOLD = "program_stage_duration_seconds", "program_stage_threshold_seconds"
BUS, BUS_QUEUE = "program_bus_events_total", "program_bus_queue_length"
RESULTS = ("handled", "failed", "timed_out", "dropped", "retried")
BREAKER_STATES = ("closed", "half_open", "open")
# Samples in the list of all metrics; the page of metrics has them all.
SAMPLES_MAX = 500

Row = dict[str, Any]


def program_view(families: Sequence[Metric], recent: Counters) -> Row:
    """Return all sections of a program; `recent` is what its counters have grown by in the time that counts as now."""
    figures = Figures(families)
    return {
        "stages": stages(figures, recent),
        "operations": operations(figures, recent),
        "caches": [_cache(figures, recent, name) for name in figures.names("cache", REQUESTS, "program_cache_entries")],
        "handlers": [_handler(figures, recent, *names) for names in figures.by_all(BUS_QUEUE, "bus", "handler")],
        "breakers": [_breaker(figures, name) for name in figures.names("breaker", "program_breaker_state")],
        "retries": [
            {"operation": name, **figures.by("program_retries_total", "result", operation=name)}
            for name in figures.names("operation", "program_retries_total")
        ],
        "compute": [_computed(figures, *pair) for pair in _engines(figures)],
        "process": process(figures),
        "alerts": alerts(figures),
        "metrics": all_metrics(families),
    }


def stages(figures: Figures, recent: Counters) -> list[Row]:
    """Return durations and thresholds of stages in seconds, and the share of each in the time of the whole.

    The whole is the stage `total_pipeline`, which has no share, or the sum of all stages without it. Shares are those
    of recent times, or since the start if there was nothing recently.
    """
    names = figures.names("stage", STAGE_COUNT, THRESHOLD)
    seconds = {name: recent.get(f"stage_seconds:{name}", 0.0) for name in names}
    if not any(seconds.values()):
        seconds |= figures.by(STAGE_SECONDS, "stage")
    whole = seconds.get(TOTAL) or sum(seconds.values())
    return [
        {
            "stage": name,
            "count": figures.one(STAGE_COUNT, stage=name),
            **{key: figures.one(DURATION, stage=name, quantile=q) for key, q in QUANTILES.items()},
            "threshold_seconds": figures.one(THRESHOLD, stage=name),
            "share": None if name == TOTAL else ratio(seconds[name], whole),
        }
        for name in names
    ]


def bottleneck(found: Iterable[Row]) -> str | None:
    """Return the stage that takes most of the whole, of those whose 95th percentile is over the threshold."""
    over = [row for row in found if row["share"] is not None and is_over(row)]
    return max(over, key=lambda row: row["share"])["stage"] if over else None


def is_over(row: Row) -> bool:
    """Return whether the 95th percentile of a stage is over its threshold."""
    p95, threshold = row["p95_seconds"], row["threshold_seconds"]
    return p95 is not None and threshold is not None and bool(p95 > threshold)


def operations(figures: Figures, recent: Counters) -> list[Row]:
    """Return the throughput of operations: items in a second of work, and what they are to reach.

    An operation is busy when it has worked for at least half of the time; of processes and threads the sum counts.
    """
    elapsed = recent.get(ELAPSED, 0.0)
    gauges = {
        "target": "program_operation_target_items_per_second",
        "batch_size": "program_operation_batch_size",
        "workers": "program_operation_workers",
    }
    return [
        {
            "operation": name,
            "items": figures.one(ITEMS, operation=name),
            "items_per_second": ratio(recent.get(f"items:{name}", 0.0), recent.get(f"seconds:{name}", 0.0)),
            "is_busy": (ratio(recent.get(f"seconds:{name}", 0.0), elapsed) or 0.0) >= BUSY_RATIO_MIN,
            **{key: figures.one(metric, operation=name) for key, metric in gauges.items()},
        }
        for name in figures.names("operation", ITEMS, SECONDS, *gauges.values())
    ]


def is_under(row: Row) -> bool:
    """Return whether the throughput of a busy operation is under its target; one that waits for work is not slow."""
    now, target = row["items_per_second"], row["target"]
    return row["is_busy"] and now is not None and target is not None and bool(now < target)


def _cache(figures: Figures, recent: Counters, cache: str) -> Row:
    tiers = [(tier, figures.by(REQUESTS, "result", cache=cache, tier=tier)) for tier in TIERS]
    return {
        "cache": cache,
        "entries": figures.one("program_cache_entries", cache=cache),
        "capacity": figures.one("program_cache_capacity", cache=cache),
        "requests": figures.one(REQUESTS, cache=cache, tier=FIRST_TIER),
        "hit_rate": ratio(recent.get(f"hits:{cache}", 0.0), recent.get(f"requests:{cache}", 0.0)),
        "load_p95_seconds": figures.one("program_cache_load_duration_seconds", cache=cache, quantile="0.95"),
        "tiers": [_tier(tier, results) for tier, results in tiers if results],
    }


def _tier(tier: str, results: Mapping[str, float]) -> Row:
    counts = {result: results.get(result, 0.0) for result in (*HITS, "miss", "error")}
    hit_rate = ratio(sum(counts[hit] for hit in HITS), sum(counts.values()))
    return {"tier": tier, **counts, "hit_rate": None if tier == LOADER else hit_rate}


def _handler(figures: Figures, recent: Counters, bus: str, handler: str) -> Row:
    # A program that measures itself with an earlier version has no label for the bus.
    labels = {"bus": bus, "handler": handler} if bus else {"handler": handler}
    results = figures.by(BUS, "result", **labels)
    return {
        "bus": bus,
        "handler": handler,
        "queue_length": figures.one(BUS_QUEUE, **labels),
        "queue_capacity": figures.one("program_bus_queue_capacity", **labels),
        "p95_seconds": figures.one("program_bus_duration_seconds", quantile="0.95", **labels),
        **{result: results.get(result, 0.0) for result in RESULTS},
        "dropped_by_reason": figures.by(BUS_DROPPED, "reason", **labels),
        "is_dropping": ELAPSED in recent and recent.get(dropped_by(bus, handler), 0.0) > 0,
    }


def _breaker(figures: Figures, breaker: str) -> Row:
    state = int(figures.one("program_breaker_state", breaker=breaker) or 0)
    return {
        "breaker": breaker,
        "state": BREAKER_STATES[state] if 0 <= state < len(BREAKER_STATES) else "unknown",
        "opened": figures.one("program_breaker_transitions_total", breaker=breaker, state="open"),
    }


def _engines(figures: Figures) -> list[tuple[str, str]]:
    found = figures.pairs("program_compute_items_total", "operation", "engine")
    return list(dict.fromkeys((operation, engine) for operation, engine, _ in found))


def _computed(figures: Figures, operation: str, engine: str) -> Row:
    labels = {"operation": operation, "engine": engine}
    return {
        **labels,
        "items": figures.one("program_compute_items_total", **labels),
        "p95_seconds": figures.one("program_compute_duration_seconds", quantile="0.95", **labels),
    }


def process(figures: Figures) -> Row:
    """Return processor and memory of the program and of its machine; without a limit or growth, no time to it."""
    memory, limit = figures.one("program_memory_bytes"), figures.one("program_memory_limit_bytes")
    growth = figures.one("program_memory_growth_bytes_per_second")
    left = None
    if memory is not None and limit is not None and growth is not None and growth > 0:
        left = max(0.0, limit - memory) / growth
    return {
        "cpu_ratio": figures.one("program_cpu_usage_ratio"),
        "threads": figures.one("program_threads"),
        "memory_bytes": memory,
        "memory_limit_bytes": limit,
        "memory_growth_bytes_per_second": growth,
        "seconds_to_limit": left,
        "machine_cpu_ratio": figures.one("program_machine_cpu_usage_ratio"),
        "machine_memory_ratio": figures.one("program_machine_memory_used_ratio"),
    }


def alerts(figures: Figures) -> list[Row]:
    """Return the alerts that the program has raised itself."""
    found = figures.pairs("program_alert_active", "alert", "subject")
    return [{"alert": alert, "subject": subject} for alert, subject, value in found if value > 0]


def all_metrics(families: Iterable[Metric]) -> list[Row]:
    """Return the first samples of all families."""
    rows: list[Row] = []
    for family in families:
        for sample in family.samples:
            if len(rows) >= SAMPLES_MAX:
                return rows
            row = {
                "name": sample.name,
                "kind": family.type,
                "help": family.documentation,
                "labels": dict(sample.labels),
            }
            rows.append(row | {"value": sample.value})
    return rows
