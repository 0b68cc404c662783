"""What is to be published: events with the input positions that they cover, and the backlog of them.

A `Dispatch` stays in the `Backlog` until it is published, so an outage of the event topic neither stops the metrics nor
counts anything twice. Pure: time is an argument, in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from exporter.config.schema import BacklogLimits
from exporter.events.factory import Event
from exporter.kafka.positions import Position
from exporter.model import AnyEventType, EventType, Partition, RiskEventType

# Memory of an event beside its body: the struct, its headers and their texts.
EVENT_OVERHEAD_BYTES = 600
NONE: dict[AnyEventType, int] = dict.fromkeys((*EventType, *RiskEventType), 0)


class Dispatch:
    """Events in order, and the positions to commit once they are published.

    `counts` holds the number of events by type; `offered_at` is when it came into the backlog.
    """

    def __init__(self, events: Iterable[Event] = (), positions: Mapping[Partition, Position] = {}) -> None:
        self.offered_at = 0.0
        self.events = list(events)
        self.counts = NONE.copy()
        self.positions = dict(positions)
        types = [event.type for event in self.events]
        for event_type in set(types):
            self.counts[event_type] = types.count(event_type)
        self.bytes = sum([len(event.body) for event in self.events]) + len(types) * EVENT_OVERHEAD_BYTES

    def __bool__(self) -> bool:
        return bool(self.events or self.positions)

    def add(self, event: Event) -> None:
        """Append one event."""
        self.events.append(event)
        self.counts[event.type] += 1
        self.bytes += len(event.body) + EVENT_OVERHEAD_BYTES

    def extend(self, other: Dispatch) -> None:
        """Append another dispatch, which reaches the same positions or later ones."""
        self.events += other.events
        self.positions |= other.positions
        self.bytes += other.bytes
        for event_type, count in other.counts.items():
            self.counts[event_type] += count

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


class BacklogSize(NamedTuple):
    """What waits: events, their bytes, and the seconds since the oldest came.

    `fullness` is the largest ratio of these to a limit: from 1.0 on reading has to pause.
    """

    events: int
    bytes: int
    age: float
    fullness: float


class Backlog:
    """Dispatches that are not confirmed as published, in the order of their offers.

    They are `sent` in the current transaction, or `waiting` to be sent. The loop offers them, the publisher sends them.
    `cursor` is the number of events of the first waiting dispatch that are sent. `limits` may change.
    """

    def __init__(self, limits: BacklogLimits) -> None:
        self.sent: list[Dispatch] = []
        self.waiting: deque[Dispatch] = deque()
        self.cursor = 0
        self._sent_events = 0
        self.limits = limits

    def __bool__(self) -> bool:
        return bool(self.sent or self.waiting)

    def size(self, now: float) -> BacklogSize:
        """Return how much waits."""
        dispatches, limits = [*self.sent, *self.waiting], self.limits
        events = sum([len(dispatch.events) for dispatch in dispatches])
        size = sum([dispatch.bytes for dispatch in dispatches])
        age = max(0.0, now - dispatches[0].offered_at) if dispatches else 0.0
        return BacklogSize(events, size, age, max(events / limits.events, size / limits.bytes, age / limits.age))

    def offer(self, dispatch: Dispatch, now: float) -> None:
        """Append a dispatch, unless it is empty."""
        if dispatch:
            dispatch.offered_at = now
            self.waiting.append(dispatch)

    def mark_first_sent(self) -> int:
        """Move the first waiting dispatch, all of whose events are sent, to `sent`; return how many events that has."""
        first = self.waiting.popleft()
        self.sent.append(first)
        self.cursor = 0
        self._sent_events += len(first.events)
        return self._sent_events

    def sent_positions(self) -> dict[Partition, Position]:
        """Return the positions that the current transaction commits."""
        positions: dict[Partition, Position] = {}
        for dispatch in self.sent:
            positions |= dispatch.positions
        return positions

    def take_sent(self) -> list[Dispatch]:
        """Remove the sent dispatches and return them."""
        sent, self.sent, self._sent_events = self.sent, [], 0
        return sent

    def restore(self) -> None:
        """Put the sent dispatches back in front of the waiting ones."""
        self.waiting.extendleft(reversed(self.sent))
        self.sent, self._sent_events, self.cursor = [], 0, 0

    def drop(self, partitions: Container[Partition]) -> None:
        """Remove the events and positions of these partitions, and dispatches that are empty without them."""
        self.waiting = deque(left for each in self.waiting if (left := each.without(partitions)))
        self.sent = [left for each in self.sent if (left := each.without(partitions))]
        self._sent_events = sum(len(dispatch.events) for dispatch in self.sent)
        self.cursor = 0
