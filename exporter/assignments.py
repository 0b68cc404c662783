"""Partitions from assignment to release: where each begins, and why not where it was left; and what applies records.

Owned by the loop thread. Pure: time is an argument.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from exporter.events.encoding import Stamp
from exporter.events.factory import Event, EventFactory
from exporter.feeds.partitions import AssignedPartition, TopicCounts
from exporter.feeds.rejections import RecentRejections, RejectionLog, Traffic
from exporter.kafka.positions import Start
from exporter.kafka.unreadable import LEAST_STARTS
from exporter.model import Partition, Record, Reset, ResetCause, SymbolUpdate
from exporter.publishing.dispatch import Dispatch
from exporter.runtime.rate_limit import RateLimiter
from exporter.steps import RunSteps, run_all


class Turn(NamedTuple):
    """The time of one call, in Unix milliseconds and as events have it, and the events that the call creates."""

    now_ms: int
    stamp: Stamp
    events: list[Event]


class Assignments:
    """The assigned `partitions`, and the counts of all `topics` that were ever read, by what they are shown as."""

    def __init__(self, factory: EventFactory, shown_as: Callable[[str], str] = str) -> None:
        self._shown_as = shown_as
        self.on_topic: dict[str, Traffic] = {}
        self.topics: dict[str, TopicCounts] = {}
        self.partitions: dict[Partition, AssignedPartition] = {}
        self._factory = factory
        self._limiter = RateLimiter(burst=10, per_second=1.0)
        # How far this process has counted each partition; kept after release, as the partition may return.
        self._counted: dict[Partition, int] = {}

    def begin(self, starts: Mapping[Partition, Start], now_ms: int) -> Dispatch:
        """Assign partitions; return their first positions, for the next owner to begin there, and their resets."""
        turn = Turn(now_ms, Stamp.at(now_ms), [])
        for partition, start in starts.items():
            self.assign(partition, start)
            if start.reset is not None:
                self._reset(turn, partition, start.reset)
        return Dispatch(turn.events, {partition: self.partitions[partition].position for partition in starts})

    def assign(self, partition: Partition, start: Start) -> None:
        """Assign a partition. If it is shorter than what was counted of it, or recreated, nothing of it is counted."""
        counted = self._counted.get(partition, 0)
        is_new = start.reset is not None and start.reset.cause is not ResetCause.RECORDS_DELETED
        if start.end < counted or is_new:
            counted = self._counted[partition] = 0
        self.partitions[partition] = AssignedPartition(
            start, counted, self.topic(partition.topic), self.on_topic.setdefault(partition.topic, Traffic())
        )

    def release(self, partitions: Iterable[Partition], run_steps: RunSteps = run_all) -> None:
        """Forget the partitions; a feed that is on no other assigned partition stops showing its last values."""
        run_steps(self._released(partitions))

    def _released(self, partitions: Iterable[Partition]) -> Iterator[None]:
        for partition in partitions:
            owned = self.partitions.pop(partition, None)
            if owned is None:
                continue
            self._counted[partition] = owned.counted
            for feed in owned.rejected_feeds.union(each.feed for each in owned.feeds.values()):
                feed.release(partition)
                yield

    def topic(self, name: str) -> TopicCounts:
        """Return the counts of a topic, created when it is new."""
        return self.topics.setdefault(self._shown_as(name), TopicCounts())

    def traffic(self, now_ms: int) -> dict[str, Traffic]:
        """Return the present traffic of each topic with assigned partitions; call it once a second."""
        present = {partition.topic: owned.traffic for partition, owned in self.partitions.items()}
        for traffic in present.values():
            traffic.update(now_ms)
        return present

    def vanished(self, partitions: Iterable[Partition], now_ms: int) -> Dispatch:
        """Note that partitions were deleted with their topics; return the events about it."""
        turn = Turn(now_ms, Stamp.at(now_ms), [])
        for partition in partitions:
            offset = self._counted.get(partition, 0)
            self._reset(turn, partition, Reset(ResetCause.TOPIC_DELETED, offset, 0))
        return Dispatch(turn.events)

    def hold(self, partition: Partition) -> Dispatch:
        """Keep a partition at its position, and return that position as one at which processes ended."""
        owned = self.partitions.get(partition)
        if owned is None:
            return Dispatch()
        owned.is_held, owned.starts = True, LEAST_STARTS
        return Dispatch(positions={partition: owned.position})

    def survive(self, partitions: Iterable[Partition]) -> None:
        """Note that partitions are released in order: reading them did not end this process."""
        for partition in partitions:
            owned = self.partitions[partition]
            if owned.starts <= LEAST_STARTS and not owned.is_held:
                owned.starts = 0

    def step_over(
        self, partition: Partition, first: int, end: int, now_ms: int, *, is_deadly: bool = False
    ) -> Dispatch:
        """Continue at `end`, as the records from `first` to before it are unreadable; return the event about it.

        As with records, what was published before is not reported again, and what was counted is not counted again.
        Deadly records are not read again, not even to complete a summary: all before them must have been summarized.
        """
        turn, owned = Turn(now_ms, Stamp.at(now_ms), []), self.partitions.get(partition)
        if owned is None or end <= owned.next_offset:
            return Dispatch()
        first = max(first, owned.next_offset, owned.published)
        if end > max(first, owned.counted):
            owned.topic.reset(ResetCause.RECORDS_UNREADABLE, now_ms)
            owned.topic.unreadable += end - max(first, owned.counted)
        owned.next_offset = end
        owned.counted = max(owned.counted, end)
        if is_deadly:
            owned.floor, owned.summarized = end, max(owned.summarized, end)
        if end > first:
            self._report_reset(turn, partition, Reset(ResetCause.RECORDS_UNREADABLE, first, end - first))
        return Dispatch(turn.events, {partition: owned.position})

    def _reset(self, turn: Turn, partition: Partition, reset: Reset) -> None:
        topic = self.topic(partition.topic)
        topic.reset(reset.cause, turn.now_ms)
        topic.lost += reset.lost
        self._report_reset(turn, partition, reset)

    def _report_reset(self, turn: Turn, partition: Partition, reset: Reset) -> None:
        suppressed = self._limiter.admit(reset.cause, turn.now_ms)
        if suppressed is not None:
            turn.events.append(self._factory.reset(partition, reset, suppressed, turn.stamp.text))


def do_nothing() -> None:
    """Return at once: no thread waits."""


class RecordPipeline(Assignments, ABC):
    """Applies records to what is known from them, and creates their events.

    `updates` are for the store, `rejection_log` for the log.
    """

    def __init__(self, factory: EventFactory, shown_as: Callable[[str], str] = str) -> None:
        super().__init__(factory, shown_as)
        self.rejection_log = RejectionLog()
        self.recent_rejections = RecentRejections()
        self.updates: list[SymbolUpdate] = []

    @abstractmethod
    def decode(self, records: Iterable[Record]) -> Sequence[Any]:
        """Return for each record what it contains; without the state, so that other threads use that meanwhile."""

    @abstractmethod
    def analyze(
        self,
        records: Sequence[Record],
        decoded: Sequence[Any],
        now_ms: int,
        yield_to_waiters: Callable[[], None] = do_nothing,
    ) -> Dispatch:
        """Apply the records in order, and return their events and the positions reached."""

    @abstractmethod
    def summarize(self, partitions: Iterable[Partition], now_ms: int) -> Dispatch:
        """End the interval on the partitions; return its summaries, and the positions that they cover."""

    def take_updates(self) -> list[SymbolUpdate]:
        """Return the symbol updates since the last call."""
        updates, self.updates = self.updates, []
        return updates
