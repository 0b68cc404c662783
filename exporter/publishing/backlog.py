"""Dispatches that are not confirmed as published: those sent, then those waiting. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Container

from exporter.config.schema import BacklogLimits
from exporter.kafka.positions import Position
from exporter.model import Partition
from exporter.publishing.dispatch import Dispatch


class Backlog:
    """Dispatches in the order of their offers: `sent` in the current transaction, or `waiting` to be sent.

    `cursor` is the number of events of the first waiting dispatch that are sent.
    """

    def __init__(self, limits: BacklogLimits) -> None:
        self.sent: list[Dispatch] = []
        self.waiting: deque[Dispatch] = deque()
        self.cursor = 0
        self._limits = limits

    def __bool__(self) -> bool:
        return bool(self.sent or self.waiting)

    def size(self, now: float) -> tuple[int, int, float]:
        """Return the number of events, their bytes, and the age of the oldest dispatch in seconds."""
        dispatches = [*self.sent, *self.waiting]
        oldest = dispatches[0].offered_at if dispatches else now
        events = sum(len(dispatch.events) for dispatch in dispatches)
        return events, sum(dispatch.bytes for dispatch in dispatches), max(0.0, now - oldest)

    def fullness(self, now: float) -> float:
        """Return the largest ratio of a size to its limit: from 1.0 on reading has to pause."""
        events, size, age = self.size(now)
        return max(events / self._limits.events, size / self._limits.bytes, age / self._limits.age)

    def offer(self, dispatch: Dispatch, now: float) -> None:
        """Append a dispatch, unless it is empty."""
        if dispatch:
            dispatch.offered_at = now
            self.waiting.append(dispatch)

    def mark_first_sent(self) -> None:
        """Move the first waiting dispatch, all of whose events are sent, to `sent`."""
        self.sent.append(self.waiting.popleft())
        self.cursor = 0

    def sent_events(self) -> int:
        """Return the number of events in the current transaction."""
        return sum(len(dispatch.events) for dispatch in self.sent)

    def sent_positions(self) -> dict[Partition, Position]:
        """Return the positions that the current transaction commits."""
        positions: dict[Partition, Position] = {}
        for dispatch in self.sent:
            positions |= dispatch.positions
        return positions

    def take_sent(self) -> list[Dispatch]:
        """Remove the sent dispatches and return them."""
        sent, self.sent = self.sent, []
        return sent

    def restore(self) -> None:
        """Put the sent dispatches back in front of the waiting ones."""
        self.waiting.extendleft(reversed(self.sent))
        self.sent, self.cursor = [], 0

    def drop(self, partitions: Container[Partition]) -> None:
        """Remove the events and positions of these partitions, and dispatches that are empty without them."""
        self.waiting = deque(left for each in self.waiting if (left := each.without(partitions)))
        self.sent = [left for each in self.sent if (left := each.without(partitions))]
        self.cursor = 0
