"""The order in which records of the past arrived, and when. Pure.

A record arrived at its timestamp, but not before those that stand before it in its log, nor after the one behind it:
so the wrong stamp of a single record, early or late, moves no time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush

from exporter.model import Partition, Record

# Of a partition that is ahead of others, so many bytes and records wait, and reading it goes on below half of them.
AHEAD_BYTES = 1024**2
AHEAD_RECORDS = 2000
# Counts for a record beside its value.
RECORD_BYTES = 300

# The Unix milliseconds at which a record arrived, and the record.
Arrived = tuple[int, Record]


def arrivals(records: Iterable[Record], latest_ms: int) -> Iterator[Arrived]:
    """Yield the records of one log with the time of each, at most `latest_ms`; without any timestamp it is 0."""
    now_ms, before = 0, None
    for record in records:
        if before is not None:
            now_ms = _time(before, record.timestamp_ms, now_ms, latest_ms)
            yield now_ms, before
        before = record
    if before is not None:
        yield _time(before, 0, now_ms, latest_ms), before


def _time(record: Record, next_ms: int, now_ms: int, latest_ms: int) -> int:
    time_ms = record.timestamp_ms
    if 0 < next_ms < time_ms:
        time_ms = next_ms
    if time_ms > latest_ms:
        time_ms = latest_ms
    return time_ms if time_ms > now_ms else now_ms


class Waiting:
    """The records of one partition that were read and have not arrived yet."""

    __slots__ = ("is_ended", "is_paused", "records", "size")

    def __init__(self) -> None:
        self.records: deque[Record] = deque()
        self.size = 0
        self.is_ended = False
        self.is_paused = False

    def add(self, record: Record) -> None:
        """Add the next record of the partition."""
        self.records.append(record)
        self.size += RECORD_BYTES + len(record.value or b"")

    def take(self) -> Record:
        """Return the first, and remove it."""
        record = self.records.popleft()
        self.size -= RECORD_BYTES + len(record.value or b"")
        return record

    @property
    def is_known(self) -> bool:
        """Whether the first record and the one behind it are known, or that there is none."""
        return self.is_ended or len(self.records) > 1

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no more is to be read."""
        return self.size > AHEAD_BYTES or len(self.records) > AHEAD_RECORDS

    @property
    def has_room(self) -> bool:
        """Whether reading is to go on after it was full."""
        return self.size <= AHEAD_BYTES // 2 and len(self.records) <= AHEAD_RECORDS // 2


class Merge:
    """Records of several partitions in the order of their times.

    They are read as they come; a partition that is ahead of others is paused by `pause` until `resume`, so that what
    waits is bounded by `AHEAD_BYTES` of each partition.
    """

    def __init__(
        self,
        partitions: Iterable[Partition],
        latest_ms: int,
        pause: Callable[[Partition], None],
        resume: Callable[[Partition], None],
    ) -> None:
        self._waiting = {partition: Waiting() for partition in partitions}
        self._unknown = set(self._waiting)  # partitions of which more must be read before any record can arrive
        self._heads: list[tuple[int, Partition]] = []
        self._latest_ms = latest_ms
        self._now_ms = 0
        self._pause, self._resume = pause, resume

    def ended(self, partition: Partition) -> None:
        """Note that a partition has no further records."""
        waiting = self._waiting[partition]
        waiting.is_ended = True
        self._settle(partition, waiting)

    def merged(self, records: Iterable[Record]) -> Iterator[Arrived]:
        """Yield the records with the times at which they arrived."""
        for record in records:
            waiting = self._waiting[record.partition]
            waiting.add(record)
            self._settle(record.partition, waiting)
            if waiting.is_full and not waiting.is_paused and self._unknown:
                waiting.is_paused = True
                self._pause(record.partition)
            yield from self._due()
        yield from self._due()

    def _due(self) -> Iterator[Arrived]:
        while self._heads and not self._unknown:
            time_ms, partition = heappop(self._heads)
            waiting = self._waiting[partition]
            self._now_ms = max(self._now_ms, time_ms)
            yield self._now_ms, waiting.take()
            if waiting.is_paused and waiting.has_room:
                waiting.is_paused = False
                self._resume(partition)
            if waiting.records and waiting.is_known:
                self._push(partition, waiting)
            elif not waiting.is_ended:
                self._unknown.add(partition)

    def _settle(self, partition: Partition, waiting: Waiting) -> None:
        """Offer the first record of a partition once it is known when it arrived."""
        if partition in self._unknown and waiting.is_known:
            self._unknown.remove(partition)
            if waiting.records:
                self._push(partition, waiting)

    def _push(self, partition: Partition, waiting: Waiting) -> None:
        records = waiting.records
        next_ms = records[1].timestamp_ms if len(records) > 1 else 0
        heappush(self._heads, (_time(records[0], next_ms, self._now_ms, self._latest_ms), partition))
