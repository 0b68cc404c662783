"""The loop: take records, apply them, publish their events. One thread owns the consumer, the producer and all state.

Other threads read that state through `exporter.status`: with `read_access`, which is free between two pieces of work
and while the loop communicates with Kafka.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from exporter.assignments import RecordPipeline
from exporter.feeds.rejections import LoggedRejection, one_line
from exporter.instrument.histogram import Bounds, add_each
from exporter.instrument.selection import ALL, Selection
from exporter.kafka.positions import Start
from exporter.kafka.unreadable import Gap
from exporter.model import Partition, Record, listing
from exporter.publishing.dispatch import Dispatch
from exporter.publishing.publisher import Publisher
from exporter.runtime import logs
from exporter.runtime.clock import Clock
from exporter.runtime.fair_lock import FairLock, ReadAccess
from exporter.runtime.handover import Handover
from exporter.source.source import Source
from exporter.store.store import Store

log = logs.logger("loop")

STAGES = ("poll", "decode", "analyze", "publish")
STAGE_BOUNDS = Bounds((0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0))
PROCESSING = "marketdata_processing_seconds"

TAKE_SECONDS = 0.1
# Partitions that are assigned at once, while other threads wait for the state.
PIECE_PARTITIONS = 200
# Records that are decoded at once, and then analyzed while other threads wait for the state: at most a millisecond,
# unless a single record takes longer. Their rows take up to 20 times as much memory, and stay in the processor's cache.
PART_BYTES = 65_536
PART_RECORDS = 100
# The native core takes a quarter of that time, and its rows take less memory than their text. What of them it leaves to
# Python may take longer, so waiting threads get the state between two such records.
NATIVE_PART_BYTES = 262_144
EVALUATE_SECONDS = 1.0
# Of a rebalance or a stop: below the 45 s after which the group removes a silent member.
SETTLE_SECONDS = 10.0
CLOSE_SECONDS = 5.0
# Reading goes on after a pause once the backlog is no fuller than this.
DRAINED = 0.5


P = TypeVar("P", bound=RecordPipeline)


class Loop(ABC, Generic[P]):
    """Runs until it is stopped or, with `until_caught_up`, until all partitions are read to their ends at assignment.

    `turned_at` is the monotonic time of the last sign of progress; `warnings` are those of the last evaluation;
    `generation` rises with each change of the assignment. Other threads change settings by `handover`.
    """

    def __init__(
        self,
        source: Source,
        pipeline: P,
        publisher: Publisher,
        store: Store,
        *,
        summary_interval: float,
        until_caught_up: bool = False,
        clock: Clock,
        families: Selection = ALL,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._lock = FairLock(clock.monotonic)
        self.read_access = ReadAccess(self._lock)
        self.source = source
        self.pipeline = pipeline
        self.publisher = publisher
        self.stages = {stage: families.own_histogram(PROCESSING, STAGE_BOUNDS) for stage in STAGES}
        self.turned_at = clock.monotonic()
        self.warnings: tuple[str, ...] = ()
        self.handover = Handover()
        self._store = store
        self._summary_interval = summary_interval
        self._until_caught_up = until_caught_up
        self._part_bytes = part_bytes
        self._clock = clock
        self.generation = 0
        self._stopping = threading.Event()
        self._was_assigned = False
        self._summary_due = 0.0
        self._evaluation_due = 0.0

    # From start to stop.

    def run(self) -> bool:
        """Turn until stopped, then publish the backlog and leave the group; return whether that ended in time."""
        self._summary_due = self._clock.monotonic() + self._summary_interval
        self.source.open(self)
        # Opening the channel aborts the transaction of a dead predecessor; until then offsets are unavailable.
        self.publisher.advance()
        try:
            while not self._stopping.is_set():
                self.turn()
        finally:
            self.handover.close()
        return self._finish()

    def stop(self) -> None:
        """End after the current turn; from any thread."""
        self._stopping.set()

    def turn(self) -> None:
        """Take records, apply them, and publish as far as that is possible without waiting."""
        if self.handover.waiting:
            self.handover.take()
        started = self.turned_at = self._clock.monotonic()
        records = self.source.take(TAKE_SECONDS)
        taken = self.turned_at = self._clock.monotonic()
        seconds = {"poll": taken - started}
        if records:
            self._apply(records, seconds)
        self._run_timers(taken)
        began = self._clock.monotonic()
        self.publisher.advance()
        seconds["publish"] = self._clock.monotonic() - began
        add_each(self.stages, seconds)
        self._limit_backlog()

    def _apply(self, records: list[Record], seconds: dict[str, float]) -> None:
        """Decode and analyze records, and set the seconds that each of both took."""
        seconds["decode"] = seconds["analyze"] = 0.0
        whole: Dispatch | None = None
        for part in in_parts(records, self._part_bytes):
            began = self._clock.monotonic()
            decoded = self.pipeline.decode(part)
            analysis_began = self.turned_at = self._clock.monotonic()
            with self._lock:
                now_ms = self._clock.now_ms()
                dispatch = self.pipeline.analyze(part, decoded, now_ms, self._lock.yield_to_waiters)
            if whole is None:
                whole = dispatch
            else:
                whole.extend(dispatch)
            if self.pipeline.updates:
                self._store.offer(self.pipeline.take_updates())
            self.turned_at = self._clock.monotonic()
            seconds["decode"] += analysis_began - began
            seconds["analyze"] += self.turned_at - analysis_began
        if whole is not None:
            self._offer(whole)
        if self.pipeline.rejection_log.waiting:
            _log_rejections(self.pipeline.rejection_log.take())

    def _run_timers(self, now: float) -> None:
        """Do what is due: summaries, the end of a run `until_caught_up`, and the evaluation."""
        # Summaries of a pause would report silent feeds, and fill the backlog beyond its limits.
        if now >= self._summary_due and not self.source.paused:
            self._summary_due += self._summary_interval * (1 + (now - self._summary_due) // self._summary_interval)
            self._summarize(list(self.pipeline.partitions))
        if self._until_caught_up:
            self._stop_if_caught_up()
        if now >= self._evaluation_due:
            self._evaluation_due = now + EVALUATE_SECONDS
            self._evaluate(self._clock.now_ms())

    def _summarize(self, partitions: list[Partition]) -> None:
        # Without the lock: no other thread reads what summaries consist of.
        self._offer(self.pipeline.summarize(partitions, self._clock.now_ms()))
        self.turned_at = self._clock.monotonic()

    def _offer(self, dispatch: Dispatch) -> None:
        """Add a dispatch to the backlog; dispatches are published in the order of offers."""
        self.publisher.backlog.offer(dispatch, self._clock.monotonic())

    @abstractmethod
    def _evaluate(self, now_ms: int) -> None:
        """Evaluate, once a second, what the records show, and set the warnings."""

    def _stop_if_caught_up(self) -> None:
        has_begun = self._was_assigned or (self.source.subscribed and self.source.is_empty)
        if has_begun and not any(owned.is_catching_up for owned in self.pipeline.partitions.values()):
            self.stop()

    def _limit_backlog(self) -> None:
        """Pause reading while the backlog is full."""
        fullness = self.publisher.backlog.size(self._clock.monotonic()).fullness
        if not self.source.paused and fullness >= 1:
            log.warning("backlog is full, reading pauses", extra={"error": self.publisher.last_error or "none"})
            self.source.pause()
        elif self.source.paused and fullness < DRAINED:
            log.info("backlog has room again, reading goes on")
            self.source.resume()

    def _finish(self) -> bool:
        """Leave the group, which revokes all partitions and so publishes the backlog."""
        left = self.source.close(SETTLE_SECONDS + CLOSE_SECONDS)
        closed = self.publisher.close(CLOSE_SECONDS)
        if not (left and closed):
            log.error("a client did not close in time", extra={"consumer_left": left, "producer_closed": closed})
        return left and (closed or not self.publisher.backlog.size(self._clock.monotonic()).events)

    # Handler of the source: called inside its `take` and `close`.

    def assigned(self, starts: Mapping[Partition, Start]) -> None:
        """Assign partitions, and commit where they begin, so that a successor begins there as well."""
        listed = list(starts.items())
        for first in range(0, len(listed), PIECE_PARTITIONS):
            with self._lock:
                dispatch = self.pipeline.begin(dict(listed[first : first + PIECE_PARTITIONS]), self._clock.now_ms())
            self._offer(dispatch)
        self._was_assigned = self._was_assigned or bool(starts)
        self.generation += 1
        log.info("partitions assigned", extra={"partitions": listing(starts)})
        for partition, start in starts.items():
            if start.reset is not None:
                cause, left, lost = start.reset
                where = {"partition": str(partition), "from": left, "to": start.position.offset, "lost": lost}
                log.warning("a partition is not read on where it was left", extra={"cause": cause.value, **where})

    def revoked(self, partitions: list[Partition]) -> None:
        """Publish the records read of the partitions, with their last summaries, before their release."""
        self.generation += 1
        assigned = [partition for partition in partitions if partition in self.pipeline.partitions]
        self.pipeline.survive(assigned)
        self._summarize(assigned)
        if not self.publisher.flush(SETTLE_SECONDS):
            log.warning(
                "not all was published in time, the next owner does it", extra={"partitions": listing(assigned)}
            )
            self.publisher.drop(set(assigned))
        self.pipeline.release(assigned, self._lock.run)
        log.info("partitions revoked", extra={"partitions": listing(assigned)})

    def lost(self, partitions: list[Partition]) -> None:
        """Release the partitions without publishing: another member has them already."""
        self.generation += 1
        self.publisher.drop(set(partitions))
        self.pipeline.release(partitions, self._lock.run)
        log.warning("partitions lost", extra={"partitions": listing(partitions)})

    def exhausted(self, partition: Partition, offset: int) -> None:
        """Note that a partition has no record at or after an offset."""
        if (owned := self.pipeline.partitions.get(partition)) is not None:
            owned.exhausted(offset)

    def unreadable(self, partition: Partition, gap: Gap, error: str, *, is_deadly: bool = False) -> None:
        """Step over unreadable records of a partition, and report it."""
        if is_deadly:
            self._summarize([partition])
        with self._lock:
            dispatch = self.pipeline.step_over(partition, *gap, self._clock.now_ms(), is_deadly=is_deadly)
        self._offer(dispatch)
        where = {"partition": str(partition), "from": gap.first, "to": gap.end}
        log.error("records cannot be read and are stepped over", extra={**where, "error": error})

    def held(self, partition: Partition, offset: int, error: str) -> None:
        """Keep a partition before records that end the process, and report it."""
        self._offer(self.pipeline.hold(partition))
        where = {"partition": str(partition), "offset": offset}
        log.error("records end the process that reads them, the partition stands", extra={**where, "error": error})

    def vanished(self, partitions: list[Partition]) -> None:
        """Report partitions, assigned now or before, that were deleted with their topics."""
        with self._lock:
            dispatch = self.pipeline.vanished(partitions, self._clock.now_ms())
        self._offer(dispatch)
        log.warning("topics were deleted", extra={"partitions": listing(partitions)})

    def waiting(self) -> None:
        """Note that the source waits for the broker, which is no stall of the loop."""
        self.turned_at = self._clock.monotonic()


def in_parts(records: Iterable[Record], part_bytes: int = PART_BYTES) -> list[list[Record]]:
    """Return all records in order, in lists of at most `PART_RECORDS` and `part_bytes`, or of one larger record."""
    parts: list[list[Record]] = []
    part: list[Record] = []
    size = 0
    for record in records:
        length = len(record.value or b"")
        if part and (size + length > part_bytes or len(part) == PART_RECORDS):
            parts.append(part)
            part, size = [], 0
        part.append(record)
        size += length
    return [*parts, part] if part else parts


def _log_rejections(rejections: Iterable[LoggedRejection]) -> None:
    for record, rejected, suppressed in rejections:
        what = {"topic": record.partition.topic, "reason": rejected.reason.value, "error": one_line(rejected.detail)}
        where = {"record": f"{record.partition}/{record.offset}", "feed": str(rejected.feed or "")}
        log.warning("a record is rejected", extra={**what, **where, "suppressed": suppressed})
