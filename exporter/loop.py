"""The loop: take records, apply them, publish what they say. One thread owns the consumer, the producer and all state.

Others see that state only during `read_access`, between two pieces of work, and whenever the loop talks to Kafka.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from exporter.feeds.evaluator import Evaluator, PartitionProgress, StallDetector
from exporter.feeds.rejections import in_a_line, warnings
from exporter.instrument.histogram import Histogram
from exporter.kafka.positions import Start
from exporter.kafka.unreadable import Gap
from exporter.model import Partition, Record, Status
from exporter.pipeline import Analysis, Complaint
from exporter.publishing.publisher import Publisher
from exporter.runtime import logs
from exporter.runtime.clock import Clock
from exporter.runtime.fair_lock import FairLock, ReadAccess
from exporter.source.messages import in_parts
from exporter.store.store import Store

log = logs.logger("loop")

STAGES = ("poll", "decode", "analyze", "publish")
STAGE_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

TAKE_SECONDS = 0.1
# Partitions that are taken over at once, while nobody else sees the state.
PIECE_PARTITIONS = 200
# Of records that are decoded at once. Their rows take up to 20 times as much, and only those of one part are in memory.
PART_BYTES = 1024**2
LOOK_SECONDS = 1.0
# Of a rebalance or a stop: below the 45 s after which the group gives a silent member up.
SETTLE_SECONDS = 10.0
CLOSE_SECONDS = 5.0
STALLED_SECONDS = 30.0
LISTED = 20
# How full the backlog may be for reading to go on after a pause.
DRAINED = 0.5


class Source(Protocol):
    """Where records come from; see `exporter.source.consumer.KafkaSource`."""

    ends: dict[Partition, int]
    paused: bool
    subscribed: bool
    is_empty: bool

    @property
    def is_reachable(self) -> bool:
        """Whether some broker answers."""

    @property
    def is_sole_reader(self) -> bool:
        """Whether all partitions that there were at the start are ours."""

    @property
    def trouble(self) -> str:
        """Why nothing is read, as far as that is known."""

    @property
    def is_refused(self) -> bool:
        """Whether brokers answer, and refuse."""

    @property
    def standing(self) -> list[str]:
        """A line for each partition that stands at a place which cannot be read."""

    def open(self, handler: Loop) -> None:
        """Begin; the handler learns which partitions come and go."""

    def take(self, seconds: float) -> list[Record]:
        """Return the next records; wait at most so long for the first."""

    def pause(self) -> None:
        """Stop fetching."""

    def resume(self) -> None:
        """Fetch again."""

    def high_watermarks(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the known end offsets."""

    def close(self, seconds: float) -> bool:
        """Leave the group."""


class Loop:
    """Runs until it is told to stop; `until_caught_up`: or until all partitions are read to the end they had."""

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
        self.high_watermarks: dict[Partition, int] = {}
        self.turned_at = clock.monotonic()
        self._store = store
        self._summary_interval = summary_interval
        self._until_caught_up = until_caught_up
        self._clock = clock
        self._stopping = threading.Event()
        self._stall_detector = StallDetector()
        self._evaluator = evaluator
        self._behind: dict[Partition, int] = {}  # partitions that were not read to the end they had when they came
        self._warnings: tuple[str, ...] = ()
        self._was_assigned = False
        self._summary_due = 0.0
        self._look_due = 0.0

    # The life of the loop.

    def run(self) -> bool:
        """Turn until told to stop, then publish what waits and leave the group; return whether that ended in time."""
        self._summary_due = self._clock.monotonic() + self._summary_interval
        self.source.open(self)
        # Opening the channel ends what a dead predecessor left open; until then the group tells nobody its offsets.
        self.publisher.advance()
        while not self._stopping.is_set():
            self.turn()
        return self._finish()

    def stop(self) -> None:
        """End after the turn under way; from any thread."""
        self._stopping.set()

    def turn(self) -> None:
        """Take what has come, apply it, and publish as far as that is possible without waiting."""
        started = self.turned_at = self._clock.monotonic()
        records = self.source.take(TAKE_SECONDS)
        taken = self.turned_at = self._clock.monotonic()
        self.stages["poll"].add(taken - started)
        if records:
            self._apply(records)
        self._look(taken)
        began = self._clock.monotonic()
        self.publisher.advance()
        self.stages["publish"].add(self._clock.monotonic() - began)
        self._balance()

    def _apply(self, records: list[Record]) -> None:
        decode_seconds = analyze_seconds = 0.0
        for part in in_parts(records, PART_BYTES):
            began = self._clock.monotonic()
            decoded = self.analysis.decode(part)
            read = self.turned_at = self._clock.monotonic()
            self.publisher.offer(self.analysis.analyze(part, decoded, self._clock.now_ms(), self._spread))
            self._store.offer(self.analysis.take_updates())
            decode_seconds += read - began
            analyze_seconds += self.turned_at - read
        _log_rejections(self.analysis.take_complaints())
        self.stages["decode"].add(decode_seconds)
        self.stages["analyze"].add(analyze_seconds)

    def _look(self, now: float) -> None:
        """Do what goes by the clock: summaries, end offsets, and whether partitions have caught up."""
        # Of a pause summaries would say that the feeds were silent, and they would fill the backlog beyond its limits.
        if now >= self._summary_due and not self.source.paused:
            self._summary_due += self._summary_interval * (1 + (now - self._summary_due) // self._summary_interval)
            self._summarize(list(self.analysis.partitions))
        self._catch_up()
        if now >= self._look_due:
            self._look_due = now + LOOK_SECONDS
            self.high_watermarks = self.source.high_watermarks(self.analysis.partitions)
            self._judge(self._clock.now_ms())

    def _summarize(self, partitions: list[Partition]) -> None:
        # Without the lock: what summaries are made of is seen by nobody else.
        self.publisher.offer(self.analysis.summarize(partitions, self._clock.now_ms()))
        self.turned_at = self._clock.monotonic()

    def _spread(self, steps: Iterable[object]) -> None:
        """Take the steps of long work, with visits in between."""
        for _ in self.read_access.pieces(steps, self._clock.monotonic):
            self.turned_at = self._clock.monotonic()

    def _judge(self, now_ms: int) -> None:
        """Say how each feed is; see `exporter.feeds.evaluator`."""
        progress: dict[Partition, PartitionProgress] = {}
        for partition, owned in self.analysis.partitions.items():
            position, end = self.position(partition), self.high_watermarks.get(partition)
            was_behind = owned.has_more
            # Who does not fetch does not learn of what comes either: then there may be more.
            is_short = self.source.paused or (end is not None and position < end)
            owned.has_more = is_short or partition in self._behind
            owned.is_behind = owned.has_more and was_behind
            standing = self._stall_detector.look(partition, position, is_short, now_ms)
            progress[partition] = PartitionProgress(standing, partition in self._behind)
        topics = self.analysis.traffic(now_ms)
        self._evaluator.evaluate(
            list(self.analysis.table.feeds.values()),
            progress,
            now_ms,
            is_reachable=self.source.is_reachable,
            is_sole_reader=self.source.is_sole_reader,
            topics=topics,
            spread=self._spread,
        )
        self._warnings = warnings(topics, self._evaluator.rejected, now_ms)

    def _catch_up(self) -> None:
        if self._behind:
            self._behind = {partition: end for partition, end in self._behind.items() if self.position(partition) < end}
        has_begun = self._was_assigned or (self.source.subscribed and self.source.is_empty)
        if self._until_caught_up and has_begun and not self._behind:
            self.stop()

    def _balance(self) -> None:
        """Stop reading while what waits to be published is at its limit."""
        fullness = self.publisher.fullness()
        if not self.source.paused and fullness >= 1:
            log.warning("backlog is full, reading pauses", extra={"trouble": self.publisher.trouble or "none"})
            self.source.pause()
        elif self.source.paused and fullness < DRAINED:
            log.info("backlog has room again, reading goes on")
            self.source.resume()

    def _finish(self) -> bool:
        """Leave the group, which revokes all partitions and so publishes what waits."""
        left = self.source.close(SETTLE_SECONDS + CLOSE_SECONDS)
        closed = self.publisher.close(CLOSE_SECONDS)
        if not (left and closed):
            log.error("a client did not close in time", extra={"consumer_left": left, "producer_closed": closed})
        return left and (closed or not self.publisher.backlog_size()[0])

    # Partitions come and go: called by the source, inside `take` or `close`.

    def assigned(self, starts: Mapping[Partition, Start]) -> None:
        """Take partitions over, and commit where they begin, so that a successor begins there, too."""
        self._behind |= {partition: start.end for partition, start in starts.items()}
        listed = list(starts.items())
        for first in range(0, len(listed), PIECE_PARTITIONS):
            with self._lock:
                dispatch = self.analysis.begin(dict(listed[first : first + PIECE_PARTITIONS]), self._clock.now_ms())
            self.publisher.offer(dispatch)
        self._was_assigned = self._was_assigned or bool(starts)
        log.info("partitions assigned", extra={"partitions": _listed(starts)})
        for partition, start in starts.items():
            if start.reset is not None:
                cause, left, lost = start.reset
                where = {"partition": str(partition), "from": left, "to": start.position.offset, "lost": lost}
                log.warning("a partition is not read on where it was left", extra={"cause": cause.value, **where})

    def revoked(self, partitions: list[Partition]) -> None:
        """Publish what is read of the partitions, with their last summaries, before they go."""
        ours = [partition for partition in partitions if partition in self.analysis.partitions]
        self.analysis.survive(ours)
        self._summarize(ours)
        if not self.publisher.settle(SETTLE_SECONDS):
            log.warning("not all was published in time, the next owner does it", extra={"partitions": _listed(ours)})
            self.publisher.drop(set(ours))
        self._release(ours)
        log.info("partitions revoked", extra={"partitions": _listed(ours)})

    def lost(self, partitions: list[Partition]) -> None:
        """Forget the partitions: somebody else has them already."""
        self.publisher.drop(set(partitions))
        self._release(partitions)
        log.warning("partitions lost", extra={"partitions": _listed(partitions)})

    def unreadable(self, partition: Partition, gap: Gap, error: str, *, is_deadly: bool = False) -> None:
        """Step over what cannot be read of a partition, and say so."""
        if is_deadly:
            self._summarize([partition])
        with self._lock:
            dispatch = self.analysis.step_over(partition, *gap, self._clock.now_ms(), is_deadly=is_deadly)
        self.publisher.offer(dispatch)
        where = {"partition": str(partition), "from": gap.first, "to": gap.end}
        log.error("records cannot be read and are stepped over", extra={**where, "error": error})

    def held(self, partition: Partition, offset: int, error: str) -> None:
        """Leave a partition where it is, and say so."""
        self.publisher.offer(self.analysis.hold(partition))
        where = {"partition": str(partition), "offset": offset}
        log.error("records end the process that reads them, the partition stands", extra={**where, "error": error})

    def vanished(self, partitions: list[Partition]) -> None:
        """Tell that partitions which we had are gone with their topics."""
        with self._lock:
            dispatch = self.analysis.vanished(partitions, self._clock.now_ms())
        self.publisher.offer(dispatch)
        log.warning("topics were deleted", extra={"partitions": _listed(partitions)})

    def waiting(self) -> None:
        """Note that the source waits for the broker: that is not a stall."""
        self.turned_at = self._clock.monotonic()

    def _release(self, partitions: list[Partition]) -> None:
        self.analysis.release(partitions, self._spread)
        for partition in partitions:
            self._behind.pop(partition, None)
            self.high_watermarks.pop(partition, None)
            self._stall_detector.forget(partition)

    # What others ask, from their threads.

    def position(self, partition: Partition) -> int:
        """Return the next offset to read; what the broker keeps for itself at the end counts as read."""
        owned = self.analysis.partitions.get(partition)
        return max(owned.next_offset if owned else 0, self.source.ends.get(partition, 0))

    def _why_none(self) -> str:
        """Say why no partition is read."""
        if self.source.subscribed:
            text = "no partition is assigned"
        else:
            text = "the group cannot be joined" if self.source.is_refused else "no broker has answered yet"
        trouble = self.source.trouble
        return f"{text}: {trouble}" if trouble else text

    def healthy(self) -> Status:
        """Tell whether the loop turns."""
        still = self._clock.monotonic() - self.turned_at
        return Status(still < STALLED_SECONDS, () if still < STALLED_SECONDS else (f"no turn for {still:.0f} s",))

    def stuck_seconds(self) -> float:
        """Return for how long the same turn, or the same call of the publisher, has been under way."""
        return max(self._clock.monotonic() - self.turned_at, self.publisher.busy_seconds())

    def ready(self) -> Status:
        """Tell whether what is served is up to date, and warn of what is rejected."""
        checks: list[tuple[bool, Callable[[], str]]] = [
            (bool(self.analysis.partitions), self._why_none),
            (not self._behind, lambda: f"catching up on {_listed(list(self._behind))}"),
            (not self.source.standing, lambda: "; ".join(self.source.standing[:LISTED])),
            (not self.source.paused, lambda: f"the backlog is full: {self.publisher.trouble or 'events are slow'}"),
            (not self.publisher.needs_operator, lambda: self.publisher.needs_operator),
            (self.healthy().ok, lambda: "the loop does not turn"),
        ]
        reasons = tuple(reason() for holds, reason in checks if not holds)
        return Status(not reasons, reasons, self._warnings)


def _log_rejections(complaints: Iterable[Complaint]) -> None:
    for record, rejected, suppressed in complaints:
        what = {"topic": record.partition.topic, "reason": rejected.reason.value, "error": in_a_line(rejected.detail)}
        where = {"record": f"{record.partition}/{record.offset}", "feed": str(rejected.feed or "")}
        log.warning("a record is rejected", extra={**what, **where, "suppressed": suppressed})


def _listed(partitions: Iterable[Partition]) -> str:
    names = [str(partition) for partition in sorted(partitions)]
    return " ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
