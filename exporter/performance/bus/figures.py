"""What a bus counts of each handler: its metrics, and the figures of `get_statistics`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from exporter.instrument import Counter as Counted
from exporter.instrument import MetricsCollector

RESULTS = ("handled", "failed", "timed_out", "dropped", "retried")
# Why an event was dropped: no room, after the end, and left over when the time to drain was over.
REASONS = ("full", "stopped", "unfinished")


class HandlerFigures:
    """Counts of one handler of a bus."""

    def __init__(self, bus: str, name: str, capacity: int, collector: MetricsCollector) -> None:
        self.name = name
        self.capacity = capacity
        self.counts = Counter[str]()
        self.reasons = Counter[str]()
        self._labels = labels = {"bus": bus, "handler": name}
        self.queue = collector.gauge("program_bus_queue_length", "Events that wait for a handler.", labels)
        room = collector.gauge("program_bus_queue_capacity", "Events that may wait for a handler.", labels)
        room.set(capacity)
        self.queue.set(0)
        self.duration = collector.summary("program_bus_duration_seconds", "Time of one call of a handler.", labels)
        self._collector = collector
        self._ended: dict[tuple[str, str], Counted] = {}
        self._dropped = {
            reason: collector.counter(
                "program_bus_dropped_total", "Events that were dropped, by reason.", {**labels, "reason": reason}
            )
            for reason in REASONS
        }

    def add_event(self, event: str) -> None:
        """Count events of this name, too; all results are shown from now on."""
        for result in RESULTS:
            labels = {**self._labels, "event": event, "result": result}
            help_text = "Events by handler and how they ended, and attempts that were repeated."
            self._ended[event, result] = self._collector.counter("program_bus_events_total", help_text, labels)

    def count(self, event: str, result: str) -> None:
        """Count an event by how it ended, or a repeated attempt."""
        self.counts[result] += 1
        self._ended[event, result].increment()

    def drop(self, event: str, reason: str) -> None:
        """Count an event that was dropped."""
        self.reasons[reason] += 1
        self._dropped[reason].increment()
        self.count(event, "dropped")

    def shown(self, queue_length: int) -> dict[str, Any]:
        """Return all counts, with those of dropped events by reason."""
        return {
            **{result: self.counts[result] for result in RESULTS},
            "dropped_by_reason": {reason: self.reasons[reason] for reason in REASONS},
            "queue_length": queue_length,
            "queue_capacity": self.capacity,
            "seconds": self.duration.get_statistics(),
        }
