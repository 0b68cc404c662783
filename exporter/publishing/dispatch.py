"""What waits to be published: events, and how far the input has been read to make them.

A `Dispatch` merges with what comes next and is offered until it sticks, so an outage of the event topic neither stops
the metrics nor counts anything twice. Pure.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from exporter.events.factory import Event
from exporter.kafka.positions import Position
from exporter.model import EventType, Partition

# What an event takes in memory beside its body: the struct, its headers and their texts.
EVENT_OVERHEAD_BYTES = 600


class Dispatch:
    """Events in order, and the positions that are reached once they are published.

    `counts` says how many events of each type there are; `offered_at` is the publisher's clock in seconds.
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

    def give_up(self, event: Event, instead: Event | None) -> None:
        """Take an event out, and put another at the end in its place."""
        self.events = [each for each in self.events if each is not event]
        self.counts[event.type] -= 1
        self.bytes -= len(event.body) + EVENT_OVERHEAD_BYTES
        if instead is not None:
            self.add(instead)

    def without(self, partitions: Container[Partition]) -> Dispatch:
        """Return what is left when the partitions are somebody else's now."""
        left = Dispatch()
        left.offered_at = self.offered_at
        for event in self.events:
            if (kept := event.without(partitions)) is not None:
                left.add(kept)
        left.positions = {p: position for p, position in self.positions.items() if p not in partitions}
        return left
