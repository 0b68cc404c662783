"""From records of the four topics to what they show, as `exporter.pipeline` does with batches. Pure.

After an assignment some records before the committed offset are read again. They restore open rounds, usual durations
and rates, and are counted nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from exporter.assignments import RecordPipeline, Turn, do_nothing
from exporter.events.encoding import Stamp
from exporter.events.factory import EventFactory
from exporter.feeds.partitions import AssignedPartition
from exporter.ingestion.encodings import decode
from exporter.ingestion.events import EVENTS, DataProcessingCompleted, Event, NoEvent
from exporter.ingestion.view.view import IngestionView
from exporter.kafka.positions import Start
from exporter.model import Arrival, Partition, Reason, Record, Rejected
from exporter.pipeline import count
from exporter.publishing.dispatch import Dispatch
from exporter.steps import RunSteps, run_all

BYTES_MAX = 1024**2
LIVE_AGE_MS = 60_000
BEGINNINGS, RATES, ENDS = "new_data_received", "exchange_rate_updated", "data_processing_completed"

Decoded = Event | Rejected | None


class IngestionPipeline(RecordPipeline):
    """The view and the assigned partitions: applies records to them. The names of the topics begin with `prefix`.

    `find` returns the schema of an id of the schema registry.
    """

    def __init__(
        self,
        view: IngestionView,
        prefix: str,
        factory: EventFactory,
        shown_as: Callable[[str], str] = str,
        find: Callable[[int], Any] | None = None,
    ) -> None:
        super().__init__(factory, shown_as)
        self.view = view
        self.names = {prefix + name: name for name in EVENTS}
        self._find = find
        self._gaps: set[Partition] = set()  # those of which earlier records exist, and none is read yet
        view.has_rounds = False

    def begin(self, starts: Mapping[Partition, Start], now_ms: int) -> Dispatch:
        """See Assignments."""
        dispatch = super().begin(starts, now_ms)
        self._gaps |= {partition for partition, start in starts.items() if start.first > 0}
        self.view.assigned(now_ms)
        self.view.has_rounds = self.reads(BEGINNINGS)
        return dispatch

    def release(self, partitions: Iterable[Partition], run_steps: RunSteps = run_all) -> None:
        """See Assignments."""
        partitions = list(partitions)
        super().release(partitions, run_steps)
        self._gaps.difference_update(partitions)
        for partition in partitions:
            name = self.names.get(partition.topic)
            if name == RATES:
                self.view.rates.release(partition.number)
            elif name in (BEGINNINGS, ENDS):
                self.view.release_rounds()
        self.view.has_rounds = self.reads(BEGINNINGS)

    def reads(self, name: str) -> bool:
        """Return whether any partition of the topic of an event is read here."""
        return any(self.names.get(partition.topic) == name for partition in self.partitions)

    def decode(self, records: Iterable[Record]) -> Sequence[Decoded]:
        """See RecordPipeline."""
        return [self._decoded(record) for record in records]

    def analyze(
        self,
        records: Iterable[Record],
        decoded: Iterable[Decoded],
        now_ms: int,
        yield_to_waiters: Callable[[], None] = do_nothing,
    ) -> Dispatch:
        """See RecordPipeline."""
        turn, touched = Turn(now_ms, Stamp.at(now_ms), []), dict[Partition, AssignedPartition]()
        for record, content in zip(records, decoded, strict=True):
            owned = self.partitions.get(record.partition)
            if owned is None:
                continue  # revoked since it was fetched; the next owner reads it
            is_new = count(owned, record.offset)
            if isinstance(content, Rejected):
                self._reject(turn, owned, record, content, is_new)
            elif content is None:
                owned.topic.filtered += is_new
            else:
                self._apply(owned, record, content, now_ms, is_new)
            owned.next_offset = record.offset + 1
            owned.counted = max(owned.counted, owned.next_offset)
            owned.summarized = max(owned.summarized, owned.next_offset)
            owned.last_record_ms = record.timestamp_ms
            touched[record.partition] = owned
            yield_to_waiters()
        return Dispatch(turn.events, {partition: owned.position for partition, owned in touched.items()})

    def summarize(self, partitions: Iterable[Partition], now_ms: int) -> Dispatch:
        """See RecordPipeline: there are no summaries of these events."""
        return Dispatch()

    def progress(self, ends: Mapping[Partition, int], is_paused: bool, now_ms: int) -> list[Partition]:
        """Evaluate the assigned partitions, once a second; return those that are far behind their ends."""
        found = {
            partition: owned.evaluate(ends.get(partition, 0), is_paused, now_ms, LIVE_AGE_MS)
            for partition, owned in self.partitions.items()
        }
        return [partition for partition, progress in found.items() if progress.is_catching_up]

    def _decoded(self, record: Record) -> Decoded:
        if record.is_event:
            return None
        try:
            if record.value is not None and len(record.value) > BYTES_MAX:
                return Rejected(Reason.TOO_LARGE, f"{len(record.value)} bytes, at most {BYTES_MAX} are allowed")
            return decode(self.names[record.partition.topic], record.value, self._find)
        except NoEvent as error:
            return Rejected(error.reason, str(error))

    def _apply(self, owned: AssignedPartition, record: Record, event: Event, now_ms: int, is_new: bool) -> None:
        is_live = record.offset >= owned.published and not owned.is_behind
        arrival = Arrival(record.timestamp_ms, now_ms, is_live)
        if record.partition in self._gaps:
            self._gaps.discard(record.partition)
            if isinstance(event, DataProcessingCompleted):
                self.view.ends_from(arrival)
        self.view.apply(event, arrival, is_new=is_new, partition=record.partition.number)
        if is_new:
            owned.traffic.valid_ms = now_ms

    def _reject(self, turn: Turn, owned: AssignedPartition, record: Record, rejected: Rejected, is_new: bool) -> None:
        if is_new:
            owned.topic.rejected[rejected.reason] += 1
            owned.topic.places[rejected.reason] = (record.partition, record.offset)
            owned.traffic.rejections.add(rejected, record.partition, record.offset, turn.now_ms)
            self.rejection_log.add(record, rejected, turn.now_ms)
            self.recent_rejections.add(record, rejected, None, turn.now_ms)
        if record.offset >= owned.published:
            suppressed = self._limiter.admit(rejected.reason, turn.now_ms)
            if suppressed is not None:
                turn.events.append(self._factory.rejected(record, rejected, suppressed, turn.stamp.text))
