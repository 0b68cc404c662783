"""The counters of a program that the page shows as rates and shares, and what they have grown by. Pure."""

from __future__ import annotations

from exporter.performance.figures import Counters, Figures

STAGE_SECONDS, STAGE_COUNT = "program_stage_duration_seconds_sum", "program_stage_duration_seconds_count"
ITEMS, SECONDS = "program_operation_items_total", "program_operation_seconds_total"
BUS_DROPPED = "program_bus_dropped_total"
REQUESTS = "program_cache_requests_total"
# The tier that each read of a cache asks first; the loader is asked when no tier has the value.
FIRST_TIER, LOADER = "memory", "loader"
TIERS = (FIRST_TIER, "redis", LOADER)
HITS = ("hit", "negative")
# Beside what counters have grown by: the seconds in which they have.
ELAPSED = "elapsed"
MACHINE = {
    "disk_read": "program_machine_disk_read_bytes_total",
    "disk_written": "program_machine_disk_written_bytes_total",
    "network_received": "program_machine_network_received_bytes_total",
    "network_sent": "program_machine_network_sent_bytes_total",
}


def counters(figures: Figures) -> Counters:
    """Return the counters by a kind and a name, such as `items:signals`."""
    found: Counters = {}
    for kind, metric, label in (
        ("stage_seconds", STAGE_SECONDS, "stage"),
        ("items", ITEMS, "operation"),
        ("seconds", SECONDS, "operation"),
    ):
        found |= {f"{kind}:{name}": value for name, value in figures.by(metric, label).items()}
    found |= {dropped_by(*names): value for names, value in figures.by_all(BUS_DROPPED, "bus", "handler").items()}
    for cache in figures.names("cache", REQUESTS):
        found |= _cache_counters(figures, cache)
    totals = {kind: figures.one(metric) for kind, metric in MACHINE.items()}
    return found | {kind: value for kind, value in totals.items() if value is not None}


def dropped_by(bus: str, handler: str) -> str:
    """Return the name of the counter of events that a handler of a bus has lost."""
    return f"dropped:{bus}\n{handler}"


def _cache_counters(figures: Figures, cache: str) -> Counters:
    by_tier = {tier: figures.by(REQUESTS, "result", cache=cache, tier=tier) for tier in TIERS}
    hits = sum(by_tier[tier].get(result, 0.0) for tier in TIERS if tier != LOADER for result in HITS)
    return {f"requests:{cache}": sum(by_tier[FIRST_TIER].values()), f"hits:{cache}": hits}


def growth(before: Counters, after: Counters) -> Counters:
    """Return what counters have grown by; those that began again at 0, or are new, by their value."""
    return {name: value - before.get(name, 0.0) if value >= before.get(name, 0.0) else value
            for name, value in after.items()}  # fmt: skip
