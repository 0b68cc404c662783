"""Events to be published, with the input positions that they cover.

A `Dispatch` is offered again until it is published, so an outage of the event topic neither stops the metrics nor
counts anything twice. Pure.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from exporter.events.factory import Event
from exporter.kafka.positions import Position
from exporter.model import EventType, Partition

# Memory of an event beside its body: the struct, its headers and their texts.
EVENT_OVERHEAD_BYTES = 600


class Dispatch:
    """Events in order, and the positions to commit once they are published.

    `counts` holds the number of events by type; `offered_at` is in seconds of the publisher's clock.
    """

    def __init__(self, events: Iterable[Event] = (), positions: Mapping[Partition, Position] = {}) -> None:
        self.offered_at = 0.0
        self.events: list[Event] = []
        self.counts = dict.fromkeys(EventType, 0)
        self.positions = dict(positions)
        self.bytes = 0
        for event in events:
            self.add(event)

    def __bool__(self) -> bool:
        return bool(self.events or self.positions)

    def add(self, event: Event) -> None:
        """Append one event."""
        self.events.append(event)
        self.counts[event.type] += 1
        self.bytes += len(event.body) + EVENT_OVERHEAD_BYTES

    def replace(self, event: Event, replacement: Event | None) -> None:
        """Remove an event, and append its replacement if there is one."""
        self.events = [each for each in self.events if each is not event]
        self.counts[event.type] -= 1
        self.bytes -= len(event.body) + EVENT_OVERHEAD_BYTES
        if replacement is not None:
            self.add(replacement)

    def without(self, partitions: Container[Partition]) -> Dispatch:
        """Return a dispatch without the events and positions of these partitions."""
        left = Dispatch()
        left.offered_at = self.offered_at
        for event in self.events:
            if (kept := event.without(partitions)) is not None:
                left.add(kept)
        left.positions = {p: position for p, position in self.positions.items() if p not in partitions}
        return left
