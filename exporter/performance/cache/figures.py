"""What a cache counts: its metrics, and the figures of `get_cache_statistics`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from exporter.instrument import MetricsCollector

REQUESTS = "program_cache_requests_total"
RESULTS = {
    "memory": ("hit", "negative", "miss"),
    "redis": ("hit", "negative", "miss", "error"),
    "loader": ("hit", "negative", "error"),
}


class CacheFigures:
    """Counts by tier and result. `lock` of the cache is held during `count`."""

    def __init__(self, name: str, collector: MetricsCollector) -> None:
        self.counts = Counter[tuple[str, str]]()
        self.later_hits = 0  # of Redis, or of the load of another read
        self.shared_loads = 0
        labels = {"cache": name}
        help_text = "Requests of a cache by tier, and what they found."
        self._counters = {
            (tier, result): collector.counter(REQUESTS, help_text, {**labels, "tier": tier, "result": result})
            for tier, results in RESULTS.items()
            for result in results
        }
        self.entries = collector.gauge("program_cache_entries", "Entries of a cache in memory.", labels)
        self.capacity = collector.gauge("program_cache_capacity", "Entries that a cache may have in memory.", labels)
        self.load = collector.summary("program_cache_load_duration_seconds", "Time of a loader.", labels)

    def count(self, tier: str, result: str) -> None:
        """Count a request of a tier."""
        self.counts[tier, result] += 1
        self._counters[tier, result].increment()

    @property
    def requests(self) -> int:
        """The reads of callers."""
        return sum([self.counts["memory", result] for result in RESULTS["memory"]])

    @property
    def hits(self) -> int:
        """The reads that began no load: from memory, from Redis, or from the load that another read had begun."""
        return self.counts["memory", "hit"] + self.counts["memory", "negative"] + self.later_hits

    def tier(self, tier: str) -> dict[str, Any]:
        """Return the counts of one tier, with its own hit rate (0 without requests)."""
        hits = self.counts[tier, "hit"] + self.counts[tier, "negative"]
        misses, errors = self.counts[tier, "miss"], self.counts[tier, "error"]
        found = {"hits": hits, "misses": misses, "errors": errors, "negative": self.counts[tier, "negative"]}
        return {**found, "hit_rate": share(hits, hits + misses + errors)}


def share(part: int, whole: int) -> float:
    """Return a part of a whole; 0 of nothing."""
    return part / whole if whole else 0.0
