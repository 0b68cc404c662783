"""Metrics of a service whose caches follow events."""

from __future__ import annotations

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# The topics of what caches follow: the begin of a round changes nothing.
TOPICS = ("exchange_rate_updated", "cache_invalidation", "data_processing_completed")
OPERATIONS = ("drop", "ping", "read", "refresh", "scan", "sweep", "write")
CHANGES = {
    "rate": ("written", "dropped", "refreshed"),
    "history": ("dropped", "limited"),
    "stats": ("dropped", "limited"),
    "analysis": ("dropped", "limited"),
    "other": ("dropped",),
}


class Outcome(StrEnum):
    """What became of an event."""

    APPLIED = "applied"
    LATE = "late"
    REPEATED = "repeated"


class CacheMetrics:
    """Metrics of one service; topics are those of events, without prefix."""

    def __init__(self, registry: CollectorRegistry, currencies_max: int = 0) -> None:
        self.events = Counter(
            "marketdata_cache_events", "Events that the caches follow.", ["topic", "outcome"], registry=registry
        )
        self.last_event = Gauge(
            "marketdata_cache_last_event_timestamp_seconds",
            "Unix time at which the last event was handled.",
            ["topic"],
            registry=registry,
        )
        self.keys = Counter(
            "marketdata_cache_keys", "Keys that were changed in Redis.", ["kind", "change"], registry=registry
        )
        self.seconds = Histogram(
            "marketdata_cache_redis_call_seconds",
            "Duration of single calls to Redis; large changes consist of many.",
            ["operation"],
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=registry,
        )
        self.redis_up = Gauge(
            "marketdata_cache_redis_up", "Whether the last change or ping of Redis succeeded.", registry=registry
        )
        self.waiting = Gauge(
            "marketdata_cache_waiting_events", "Events that wait because Redis is unavailable.", registry=registry
        )
        self.sweeps = Counter(
            "marketdata_cache_sweeps", "Passes over the histories that updates have left.", registry=registry
        )
        self.updated = Gauge(
            "marketdata_cache_rate_updated_timestamp_seconds",
            "Unix time of the newest update of a currency that this service has written.",
            ["currency_code"],
            registry=registry,
        )
        self._currencies_max = currencies_max
        self._updated: dict[str, float] = {}
        self._counts: dict[tuple[str, str], float] = {
            (topic, outcome.value): 0 for topic in TOPICS for outcome in Outcome
        }
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Show every series before it rises, or its first increase could not be seen."""
        for topic, outcome in self._counts:
            self.events.labels(topic, outcome)
        for kind, changes in CHANGES.items():
            for change in changes:
                self.keys.labels(kind, change)
        for operation in OPERATIONS:
            self.seconds.labels(operation)

    def counts(self) -> dict[tuple[str, str], float]:
        """Return the number of events by topic and outcome."""
        return dict(self._counts)

    def updates(self) -> dict[str, float]:
        """Return the Unix times of the newest updates by currency."""
        return dict(self._updated)

    def count_event(self, topic: str, outcome: Outcome, now_seconds: float) -> None:
        """Count an event that was handled at a Unix time."""
        self._counts[topic, outcome] += 1
        self.events.labels(topic, outcome).inc()
        self.last_event.labels(topic).set(now_seconds)

    def count_keys(self, kind: str, change: str, number: int) -> None:
        """Count changed keys."""
        if number:
            self.keys.labels(kind, change).inc(number)

    def show_update(self, code: str, updated_seconds: float) -> None:
        """Show the Unix time of an update, for the currencies that were first and as many as are allowed."""
        known = self._updated.get(code)
        if known is None and len(self._updated) >= self._currencies_max:
            return
        if known is None or updated_seconds > known:
            self._updated[code] = updated_seconds
            self.updated.labels(code).set(updated_seconds)
