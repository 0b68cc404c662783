"""The partitions assigned to this consumer, by state. Pure: time is an argument, in seconds."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.model import Partition

RETRY_SECONDS = 0.2


class AssignmentState:
    """Partitions by state: `reading`; `pending`, whose start is not known yet; and `invalid`, a part of `reading`.

    The offset of an invalid partition no longer exists; it is to be assigned again.
    """

    def __init__(self) -> None:
        self.reading: set[Partition] = set()
        self.pending: set[Partition] = set()
        self.invalid: set[Partition] = set()
        self._pending_since = 0.0
        self._retry_at = 0.0

    def begin(self, partitions: Iterable[Partition]) -> None:
        """Record that the partitions are read from now on."""
        started = set(partitions)
        self.reading |= started
        self.pending -= started

    def postpone(self, partitions: Iterable[Partition], now: float) -> float:
        """Record that the start of the partitions is unknown; return for how many seconds any has been pending."""
        if not self.pending:
            self._pending_since = now
        self.pending |= set(partitions)
        self._retry_at = now + RETRY_SECONDS
        return now - self._pending_since

    def due(self, now: float) -> list[Partition]:
        """Return the pending partitions, in order, once it is time to ask for their start again."""
        return sorted(self.pending) if self.pending and now >= self._retry_at else []

    def invalidate(self, partitions: Iterable[Partition]) -> None:
        """Record that the offsets of these partitions no longer exist; those that are not read are ignored."""
        self.invalid |= self.reading & set(partitions)

    def release(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions."""
        for state in (self.reading, self.pending, self.invalid):
            state.difference_update(partitions)
