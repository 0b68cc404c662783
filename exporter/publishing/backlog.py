"""What is not known to be published: dispatches that wait, behind those that were sent. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Container

from exporter.config.schema import BacklogLimits
from exporter.kafka.positions import Position
from exporter.model import Partition
from exporter.publishing.dispatch import Dispatch


class Backlog:
    """Dispatches in the order of their offers: `sent` since the last seal, or `waiting` to be.

    `cursor` is how many events of the first one that waits are sent.
    """

    def __init__(self, limits: BacklogLimits) -> None:
        self.sent: list[Dispatch] = []
        self.waiting: deque[Dispatch] = deque()
        self.cursor = 0
        self._limits = limits

    def __bool__(self) -> bool:
        return bool(self.sent or self.waiting)

    def size(self, now: float) -> tuple[int, int, float]:
        """Return events, bytes and the age in seconds of the oldest."""
        dispatches = [*self.sent, *self.waiting]
        oldest = dispatches[0].offered_at if dispatches else now
        events = sum(len(dispatch.events) for dispatch in dispatches)
        return events, sum(dispatch.bytes for dispatch in dispatches), max(0.0, now - oldest)

    def fullness(self, now: float) -> float:
        """Return how full it is, by the limit that is nearest: from 1.0 on reading has to pause."""
        events, size, age = self.size(now)
        return max(events / self._limits.events, size / self._limits.bytes, age / self._limits.age)

    def offer(self, dispatch: Dispatch, now: float) -> None:
        """Append a dispatch that says something."""
        if dispatch:
            dispatch.offered_at = now
            self.waiting.append(dispatch)

    def first_is_sent(self) -> None:
        """Learn that all of the first one that waits is sent."""
        self.sent.append(self.waiting.popleft())
        self.cursor = 0

    def sent_events(self) -> int:
        """Return how many events the next seal has."""
        return sum(len(dispatch.events) for dispatch in self.sent)

    def reached(self) -> dict[Partition, Position]:
        """Return the positions that publishing what is sent brings."""
        positions: dict[Partition, Position] = {}
        for dispatch in self.sent:
            positions |= dispatch.positions
        return positions

    def published(self) -> list[Dispatch]:
        """Let go of what was sent, and return it."""
        published, self.sent = self.sent, []
        return published

    def restore(self) -> None:
        """Put what was sent back in front."""
        self.waiting.extendleft(reversed(self.sent))
        self.sent, self.cursor = [], 0

    def drop(self, partitions: Container[Partition]) -> None:
        """Forget what belongs to these partitions; of what is empty then, nothing waits."""
        self.waiting = deque(left for each in self.waiting if (left := each.without(partitions)))
        self.sent = [left for each in self.sent if (left := each.without(partitions))]
        self.cursor = 0
