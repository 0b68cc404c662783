"""The loop: take records, apply them, publish their events. One thread owns the consumer, the producer and all state.

Other threads read that state through `exporter.status`: with `read_access`, which is free between two pieces of work
and while the loop communicates with Kafka.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from exporter.feeds.evaluator import Evaluator
from exporter.feeds.rejections import LoggedRejection, one_line, warnings
from exporter.instrument.histogram import Histogram
from exporter.kafka.positions import Start
from exporter.kafka.unreadable import Gap
from exporter.model import Partition, Record
from exporter.pipeline import Analysis
from exporter.publishing.publisher import Publisher
from exporter.runtime import logs
from exporter.runtime.clock import Clock
from exporter.runtime.fair_lock import FairLock, ReadAccess
from exporter.source.messages import in_parts
from exporter.source.source import Source
from exporter.store.store import Store

log = logs.logger("loop")

STAGES = ("poll", "decode", "analyze", "publish")
STAGE_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

TAKE_SECONDS = 0.1
# Partitions that are assigned at once, while other threads wait for the state.
PIECE_PARTITIONS = 200
# Records that are decoded at once. Their rows take up to 20 times as much memory, so only one part is in memory.
PART_BYTES = 1024**2
EVALUATE_SECONDS = 1.0
# Of a rebalance or a stop: below the 45 s after which the group removes a silent member.
SETTLE_SECONDS = 10.0
CLOSE_SECONDS = 5.0
# Names in one line of the log or of a status.
LISTED = 20
# Reading goes on after a pause once the backlog is no fuller than this.
DRAINED = 0.5


class Loop:
    """Runs until it is stopped or, with `until_caught_up`, until all partitions are read to their ends at assignment.

    `turned_at` is the monotonic time of the last sign of progress; `warnings` are those of the last evaluation.
    """

    def __init__(
        self,
        source: Source,
        analysis: Analysis,
        publisher: Publisher,
        store: Store,
        evaluator: Evaluator,
        *,
        summary_interval: float,
        until_caught_up: bool = False,
        clock: Clock,
    ) -> None:
        self._lock = FairLock()
        self.read_access = ReadAccess(self._lock)
        self.source = source
        self.analysis = analysis
        self.publisher = publisher
        self.stages = {stage: Histogram(STAGE_BOUNDS) for stage in STAGES}
        self.turned_at = clock.monotonic()
        self.warnings: tuple[str, ...] = ()
        self._store = store
        self._summary_interval = summary_interval
        self._until_caught_up = until_caught_up
        self._clock = clock
        self._stopping = threading.Event()
        self._evaluator = evaluator
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
        while not self._stopping.is_set():
            self.turn()
        return self._finish()

    def stop(self) -> None:
        """End after the current turn; from any thread."""
        self._stopping.set()

    def turn(self) -> None:
        """Take records, apply them, and publish as far as that is possible without waiting."""
        started = self.turned_at = self._clock.monotonic()
        records = self.source.take(TAKE_SECONDS)
        taken = self.turned_at = self._clock.monotonic()
        self.stages["poll"].add(taken - started)
        if records:
            self._apply(records)
        self._run_timers(taken)
        began = self._clock.monotonic()
        self.publisher.advance()
        self.stages["publish"].add(self._clock.monotonic() - began)
        self._limit_backlog()

    def _apply(self, records: list[Record]) -> None:
        decode_seconds = analyze_seconds = 0.0
        for part in in_parts(records, PART_BYTES):
            began = self._clock.monotonic()
            batches = self.analysis.decode(part)
            decoded = self.turned_at = self._clock.monotonic()
            self.publisher.offer(self.analysis.analyze(part, batches, self._clock.now_ms(), self._run_steps))
            if self.analysis.updates:
                self._store.offer(self.analysis.take_updates())
            decode_seconds += decoded - began
            analyze_seconds += self.turned_at - decoded
        if self.analysis.rejection_log.waiting:
            _log_rejections(self.analysis.rejection_log.take())
        self.stages["decode"].add(decode_seconds)
        self.stages["analyze"].add(analyze_seconds)

    def _run_timers(self, now: float) -> None:
        """Do what is due: summaries, the end of a run `until_caught_up`, and the evaluation of feeds."""
        # Summaries of a pause would report silent feeds, and fill the backlog beyond its limits.
        if now >= self._summary_due and not self.source.paused:
            self._summary_due += self._summary_interval * (1 + (now - self._summary_due) // self._summary_interval)
            self._summarize(list(self.analysis.partitions))
        if self._until_caught_up:
            self._stop_if_caught_up()
        if now >= self._evaluation_due:
            self._evaluation_due = now + EVALUATE_SECONDS
            self._evaluate(self._clock.now_ms())

    def _summarize(self, partitions: list[Partition]) -> None:
        # Without the lock: no other thread reads what summaries consist of.
        self.publisher.offer(self.analysis.summarize(partitions, self._clock.now_ms()))
        self.turned_at = self._clock.monotonic()

    def _run_steps(self, steps: Iterable[object]) -> None:
        """Take the steps of long work, and yield the lock in between."""
        for _ in self.read_access.pieces(steps, self._clock.monotonic):
            self.turned_at = self._clock.monotonic()

    def _evaluate(self, now_ms: int) -> None:
        """Evaluate the progress of partitions and the health of feeds."""
        ends, is_paused = self.source.high_watermarks(self.analysis.partitions), self.source.paused
        progress = self.analysis.progress(ends, is_paused, now_ms)
        topics = self.analysis.traffic(now_ms)
        self._evaluator.evaluate(
            list(self.analysis.table.feeds.values()),
            progress,
            now_ms,
            is_reachable=self.source.is_reachable,
            is_sole_reader=self.source.is_sole_reader,
            topics=topics,
            run_steps=self._run_steps,
        )
        self.warnings = warnings(topics, self._evaluator.rejected, now_ms)

    def _stop_if_caught_up(self) -> None:
        has_begun = self._was_assigned or (self.source.subscribed and self.source.is_empty)
        if has_begun and not any(owned.is_catching_up for owned in self.analysis.partitions.values()):
            self.stop()

    def _limit_backlog(self) -> None:
        """Pause reading while the backlog is full."""
        fullness = self.publisher.fullness()
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
        return left and (closed or not self.publisher.backlog_size()[0])

    # Handler of the source: called inside its `take` and `close`.

    def assigned(self, starts: Mapping[Partition, Start]) -> None:
        """Assign partitions, and commit where they begin, so that a successor begins there as well."""
        listed = list(starts.items())
        for first in range(0, len(listed), PIECE_PARTITIONS):
            with self._lock:
                dispatch = self.analysis.begin(dict(listed[first : first + PIECE_PARTITIONS]), self._clock.now_ms())
            self.publisher.offer(dispatch)
        self._was_assigned = self._was_assigned or bool(starts)
        log.info("partitions assigned", extra={"partitions": listing(starts)})
        for partition, start in starts.items():
            if start.reset is not None:
                cause, left, lost = start.reset
                where = {"partition": str(partition), "from": left, "to": start.position.offset, "lost": lost}
                log.warning("a partition is not read on where it was left", extra={"cause": cause.value, **where})

    def revoked(self, partitions: list[Partition]) -> None:
        """Publish the records read of the partitions, with their last summaries, before their release."""
        assigned = [partition for partition in partitions if partition in self.analysis.partitions]
        self.analysis.survive(assigned)
        self._summarize(assigned)
        if not self.publisher.flush(SETTLE_SECONDS):
            log.warning(
                "not all was published in time, the next owner does it", extra={"partitions": listing(assigned)}
            )
            self.publisher.drop(set(assigned))
        self.analysis.release(assigned, self._run_steps)
        log.info("partitions revoked", extra={"partitions": listing(assigned)})

    def lost(self, partitions: list[Partition]) -> None:
        """Release the partitions without publishing: another member has them already."""
        self.publisher.drop(set(partitions))
        self.analysis.release(partitions, self._run_steps)
        log.warning("partitions lost", extra={"partitions": listing(partitions)})

    def exhausted(self, partition: Partition, offset: int) -> None:
        """Note that a partition has no record at or after an offset."""
        if (owned := self.analysis.partitions.get(partition)) is not None:
            owned.exhausted(offset)

    def unreadable(self, partition: Partition, gap: Gap, error: str, *, is_deadly: bool = False) -> None:
        """Step over unreadable records of a partition, and report it."""
        if is_deadly:
            self._summarize([partition])
        with self._lock:
            dispatch = self.analysis.step_over(partition, *gap, self._clock.now_ms(), is_deadly=is_deadly)
        self.publisher.offer(dispatch)
        where = {"partition": str(partition), "from": gap.first, "to": gap.end}
        log.error("records cannot be read and are stepped over", extra={**where, "error": error})

    def held(self, partition: Partition, offset: int, error: str) -> None:
        """Keep a partition before records that end the process, and report it."""
        self.publisher.offer(self.analysis.hold(partition))
        where = {"partition": str(partition), "offset": offset}
        log.error("records end the process that reads them, the partition stands", extra={**where, "error": error})

    def vanished(self, partitions: list[Partition]) -> None:
        """Report partitions, assigned now or before, that were deleted with their topics."""
        with self._lock:
            dispatch = self.analysis.vanished(partitions, self._clock.now_ms())
        self.publisher.offer(dispatch)
        log.warning("topics were deleted", extra={"partitions": listing(partitions)})

    def waiting(self) -> None:
        """Note that the source waits for the broker, which is no stall of the loop."""
        self.turned_at = self._clock.monotonic()


def _log_rejections(rejections: Iterable[LoggedRejection]) -> None:
    for record, rejected, suppressed in rejections:
        what = {"topic": record.partition.topic, "reason": rejected.reason.value, "error": one_line(rejected.detail)}
        where = {"record": f"{record.partition}/{record.offset}", "feed": str(rejected.feed or "")}
        log.warning("a record is rejected", extra={**what, **where, "suppressed": suppressed})


def listing(partitions: Iterable[Partition]) -> str:
    """Return the names of the partitions, at most `LISTED` of them."""
    names = [str(partition) for partition in sorted(partitions)]
    return " ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
