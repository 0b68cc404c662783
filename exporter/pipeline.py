"""From records to counters and events: the pure heart of the loop.

Three questions decide what a record does. Is it below where its partition was published to (`published`)? Then it is
read again only to complete a summary. Is it below what this process has counted (`counted`)? Then it is redelivered:
its event is made again, its numbers are not. Otherwise it is new. Owned by the loop thread; time is an argument.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from exporter.decoding.batch import Batch
from exporter.decoding.batch_stats import BatchStats
from exporter.decoding.json_decoder import Decoder
from exporter.decoding.named_feed import named_feed
from exporter.events.encoding import Stamp
from exporter.events.factory import EventFactory
from exporter.feeds.feed import Feed
from exporter.feeds.partitions import AssignedPartition, PartitionFeed, TopicCounts
from exporter.feeds.rejections import Traffic
from exporter.feeds.table import FeedTable
from exporter.feeds.window import Window
from exporter.kafka.positions import Start
from exporter.kafka.unreadable import LEAST_STARTS
from exporter.model import (
    Arrival,
    FeedKey,
    Partition,
    Reason,
    Record,
    Rejected,
    Reset,
    ResetCause,
    SymbolUpdate,
)
from exporter.publishing.dispatch import Dispatch
from exporter.runtime.rate_limit import RateLimiter
from exporter.steps import Spread, at_once

# So many times the age of what is live no clock is off: that is a replay.
OLD_AGES = 10
# Of the rejections of one topic and reason, the first is logged at once, and then one in so long.
COMPLAINT_SECONDS = 300


class Complaint(NamedTuple):
    """A rejected record to be logged, and how many of its topic and reason were not since the last that was."""

    record: Record
    rejected: Rejected
    suppressed: int


class _Turn:
    """What one turn of the loop has in common: its time, and the dispatch that it fills."""

    __slots__ = ("dispatch", "now_ms", "stamp")

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.stamp = Stamp.at(now_ms)
        self.dispatch = Dispatch()


class Analysis:
    """Applies records to the feeds, and makes the events that say so."""

    def __init__(
        self,
        decoder: Decoder,
        table: FeedTable,
        factory: EventFactory,
        *,
        batch_events: bool,
        summary_period_seconds: float,
        live_age_seconds: float,
        keep_updates: bool,
    ) -> None:
        self.table = table
        self.topics: dict[str, TopicCounts] = {}
        self.partitions: dict[Partition, AssignedPartition] = {}
        self._decoder = decoder
        self._factory = factory
        self._batch_events = batch_events
        self._period = round(summary_period_seconds)
        self._live_age_ms = round(live_age_seconds * 1000)
        self._limiter = RateLimiter(burst=10, per_second=1.0)
        self._complaint_limiter = RateLimiter(burst=1, per_second=1 / COMPLAINT_SECONDS)
        self._complaints: list[Complaint] = []
        # How far each partition was counted by this process; it outlives the ownership.
        self._counted: dict[Partition, int] = {}
        self._updates: list[SymbolUpdate] | None = [] if keep_updates else None

    def begin(self, starts: Mapping[Partition, Start], now_ms: int) -> Dispatch:
        """Take partitions over; return where they begin, so that a successor begins there, too, and what was reset."""
        turn = _Turn(now_ms)
        for partition, start in starts.items():
            self.assign(partition, start)
            turn.dispatch.positions[partition] = self.partitions[partition].position
            if start.reset is not None:
                self._reset(turn, partition, start.reset)
        return turn.dispatch

    def assign(self, partition: Partition, start: Start) -> None:
        """Take a partition over. Of one that ends before what was counted of it, or was made anew, nothing counted."""
        counted = self._counted.get(partition, 0)
        is_new = start.reset is not None and start.reset.cause is not ResetCause.RECORDS_DELETED
        if start.end < counted or is_new:
            counted = self._counted[partition] = 0
        self.partitions[partition] = AssignedPartition(start, counted, self.topic(partition.topic))

    def vanished(self, partitions: Iterable[Partition], now_ms: int) -> Dispatch:
        """Note that partitions are gone with their topics; return what is told of it."""
        turn = _Turn(now_ms)
        for partition in partitions:
            offset = self._counted.get(partition, 0)
            self._reset(turn, partition, Reset(ResetCause.TOPIC_DELETED, offset, 0))
        return turn.dispatch

    def hold(self, partition: Partition) -> Dispatch:
        """Note that a partition stays where it is, so that the next process is careful there from the beginning."""
        dispatch, owned = Dispatch(), self.partitions.get(partition)
        if owned is not None:
            owned.is_held, owned.starts = True, LEAST_STARTS
            dispatch.positions[partition] = owned.position
        return dispatch

    def survive(self, partitions: Iterable[Partition]) -> None:
        """Note that partitions are given up in order: their reading did not end this process."""
        for partition in partitions:
            owned = self.partitions[partition]
            if owned.starts <= LEAST_STARTS and not owned.is_held:
                owned.starts = 0

    def step_over(
        self, partition: Partition, first: int, end: int, now_ms: int, *, is_deadly: bool = False
    ) -> Dispatch:
        """Go on at `end`, as what lies from `first` to before it cannot be read; return what is told of it.

        As with records, what was published before is not told, and what this process has counted is not counted again.
        What is deadly is not read again, not even to complete a summary: all before it must have been summarized.
        """
        turn, owned = _Turn(now_ms), self.partitions.get(partition)
        if owned is None or end <= owned.next_offset:
            return turn.dispatch
        first = max(first, owned.next_offset, owned.published)
        if end > max(first, owned.counted):
            self._count_reset(partition, ResetCause.RECORDS_UNREADABLE, now_ms)
            owned.topic.unreadable += end - max(first, owned.counted)
        owned.next_offset = end
        owned.counted = max(owned.counted, end)
        if is_deadly:
            owned.floor, owned.summarized = end, max(owned.summarized, end)
        if end > first:
            self._tell_reset(turn, partition, Reset(ResetCause.RECORDS_UNREADABLE, first, end - first))
        turn.dispatch.positions[partition] = owned.position
        return turn.dispatch

    def _reset(self, turn: _Turn, partition: Partition, reset: Reset) -> None:
        self._count_reset(partition, reset.cause, turn.now_ms)
        self.topic(partition.topic).lost += reset.lost
        self._tell_reset(turn, partition, reset)

    def _count_reset(self, partition: Partition, cause: ResetCause, now_ms: int) -> None:
        topic = self.topic(partition.topic)
        topic.resets[cause] += 1
        topic.reset_ms[cause] = now_ms

    def _tell_reset(self, turn: _Turn, partition: Partition, reset: Reset) -> None:
        suppressed = self._limiter.admit(reset.cause, turn.now_ms)
        if suppressed is not None:
            turn.dispatch.add(self._factory.reset(partition, reset, suppressed, turn.stamp.text))

    def topic(self, name: str) -> TopicCounts:
        """Return the counts of a topic, made when it is new."""
        return self.topics.setdefault(name, TopicCounts())

    def release(self, partitions: Iterable[Partition], spread: Spread = at_once) -> None:
        """Forget the partitions; a feed that was on no other of ours stops showing its last values."""
        spread(self._released(partitions))

    def _released(self, partitions: Iterable[Partition]) -> Iterator[None]:
        for partition in partitions:
            owned = self.partitions.pop(partition, None)
            if owned is None:
                continue
            self._counted[partition] = owned.counted
            for feed in owned.rejected.union(seat.feed for seat in owned.seats.values()):
                feed.release(partition)
                yield

    def decode(self, records: Iterable[Record]) -> list[Batch | Rejected | None]:
        """Decode each record; what is no valid batch becomes its rejection, and what a sidecar published, None.

        An error event about an error event would be about the next one, and so on, without end.
        """
        decoded: list[Batch | Rejected | None] = []
        for record in records:
            if record.is_event:
                decoded.append(None)
                continue
            try:
                decoded.append(self._decoder.decode(record.value))
            except Rejected as rejected:
                rejected.feed = named_feed(record.value, self.table.limits)
                decoded.append(rejected.detached())
        return decoded

    def analyze(
        self,
        records: Iterable[Record],
        decoded: Iterable[Batch | Rejected | None],
        now_ms: int,
        spread: Spread = at_once,
    ) -> Dispatch:
        """Apply the records in order, and return their events and the positions reached."""
        turn = _Turn(now_ms)
        touched: dict[Partition, AssignedPartition] = {}
        spread(self._applied(turn, touched, records, decoded))
        turn.dispatch.positions = {partition: owned.position for partition, owned in touched.items()}
        return turn.dispatch

    def _applied(
        self,
        turn: _Turn,
        touched: dict[Partition, AssignedPartition],
        records: Iterable[Record],
        decoded: Iterable[Batch | Rejected | None],
    ) -> Iterator[None]:
        for record, batch in zip(records, decoded, strict=True):
            owned = self.partitions.get(record.partition)
            if owned is None:
                continue  # revoked while the record was on its way; its next owner reads it
            try:
                if isinstance(batch, Rejected):
                    raise batch
                if batch is None:
                    self._filter(owned, record)
                else:
                    self._accept(turn, owned, record, batch)
            except Rejected as rejected:
                rejected.detached()
                if isinstance(batch, Batch) and rejected.reason is not Reason.INVALID_FEED:
                    rejected.feed = FeedKey(batch.region, batch.exchange, batch.request_type)
                self._reject(turn, owned, record, rejected)
            owned.next_offset = record.offset + 1
            owned.last_record_ms = record.timestamp_ms
            if record.offset >= owned.counted:
                owned.counted = record.offset + 1
            touched[record.partition] = owned
            yield

    def _accept(self, turn: _Turn, owned: AssignedPartition, record: Record, batch: Batch) -> None:
        names = batch.region, batch.exchange, batch.request_type
        seat = owned.seats.get(names)
        feed = self.table.find(FeedKey(*names), turn.now_ms, self._let_go) if seat is None else seat.feed
        if feed is None:
            if self._filter(owned, record):
                owned.topic.traffic.valid_ms = turn.now_ms
            return
        stats = BatchStats(batch)
        self.table.admit(feed, stats.symbols, turn.now_ms)
        seat = seat or self._seat(turn, owned, record.partition, feed)
        arrival = Arrival(record.timestamp_ms, turn.now_ms, self._is_live(owned, record, turn.now_ms))
        sent_ms = arrival.sent_ms
        if self._tally(owned, record.offset):
            owned.topic.traffic.valid_ms = turn.now_ms
            sent_ms = feed.count(batch, stats, arrival, (record.partition, record.offset))
            if self._updates is not None:
                update = SymbolUpdate(record.partition, record.offset, feed.key, turn.now_ms, stats.names)
                self._updates.append(update)
        elif record.offset < owned.published:
            feed.health.freshness.recall(record.timestamp_ms)
        feed.remember(batch, stats, sent_ms)
        if record.offset >= owned.summarized:
            seat.window.add(stats.result)
        if self._batch_events and record.offset >= owned.published:
            turn.dispatch.add(self._factory.batch(record, feed.key, stats.result, turn.stamp))

    def _filter(self, owned: AssignedPartition, record: Record) -> bool:
        """Count a record that is not analyzed, and return whether it is new."""
        is_new = self._tally(owned, record.offset)
        owned.topic.filtered += is_new
        return is_new

    def _is_live(self, owned: AssignedPartition, record: Record, now_ms: int) -> bool:
        """Tell whether a record is news.

        One that was published before is not. An old one is not, either, while the partition has more that waits; at
        its end a stamp that is a little old rather tells of a clock.
        """
        if record.offset < owned.published:
            return False
        age_ms = now_ms - record.timestamp_ms if record.timestamp_ms > 0 else 0
        return age_ms <= self._live_age_ms or (not owned.is_behind and age_ms <= OLD_AGES * self._live_age_ms)

    def _seat(self, turn: _Turn, owned: AssignedPartition, partition: Partition, feed: Feed) -> PartitionFeed:
        """Note that a feed comes over a partition; only here a new feed is kept, once a batch of it is accepted."""
        self.table.keep(feed)
        feed.hold(partition, turn.now_ms)
        seat = owned.seats[feed.key] = PartitionFeed(feed)
        return seat

    def _let_go(self, feed: Feed) -> bool:
        """Give up what partitions have of a feed that is to be forgotten; not while a summary has to tell of it."""
        owned = [self.partitions[each] for each in feed.partitions | feed.rejected_on]
        if any(feed.key in each.seats and each.seats[feed.key].window.batches for each in owned):
            return False
        for each in owned:
            each.seats.pop(feed.key, None)
            each.rejected.discard(feed)
        return True

    def _reject(self, turn: _Turn, owned: AssignedPartition, record: Record, rejected: Rejected) -> None:
        if self._tally(owned, record.offset):
            owned.topic.rejected[rejected.reason] += 1
            owned.topic.places[rejected.reason] = (record.partition.number, record.offset)
            self._complain(record, rejected, turn.now_ms)
            if self._is_live(owned, record, turn.now_ms):
                self._blame(owned, record, rejected, turn.now_ms)
        if record.offset < owned.published:
            return
        suppressed = self._limiter.admit(rejected.reason, turn.now_ms)
        if suppressed is not None:
            turn.dispatch.add(self._factory.rejected(record, rejected, suppressed, turn.stamp.text))

    def _complain(self, record: Record, rejected: Rejected, now_ms: int) -> None:
        suppressed = self._complaint_limiter.admit(f"{record.partition.topic} {rejected.reason}", now_ms)
        if suppressed is not None:
            self._complaints.append(Complaint(record, rejected, suppressed))

    def _blame(self, owned: AssignedPartition, record: Record, rejected: Rejected, now_ms: int) -> None:
        """Note a rejected record that is news, for the feed that it names if that is known, and for its topic.

        It makes no feed, and one that names a feed which is not known is nobody's.
        """
        place = record.partition, record.offset, now_ms
        owned.topic.traffic.rejections.add(rejected, *place)
        if rejected.feed is None:
            owned.topic.traffic.strays.add(rejected, *place)
        elif (feed := self.table.feeds.get(rejected.feed)) is not None:
            owned.rejected.add(feed)
            feed.reject(rejected, *place)

    @staticmethod
    def _tally(owned: AssignedPartition, offset: int) -> bool:
        """Count the record under its topic, and tell whether it is new, so that its content counts, too."""
        topic = owned.topic
        if offset < owned.counted:
            topic.redelivered += 1
            return False
        if offset < owned.published:
            topic.recovered += 1
            return False
        topic.records += 1
        return True

    def take_complaints(self) -> list[Complaint]:
        """Return what there is to log about rejected records since the last call."""
        complaints, self._complaints = self._complaints, []
        return complaints

    def traffic(self, now_ms: int) -> dict[str, Traffic]:
        """Return what comes at present on each topic of which partitions are ours; call it once a second."""
        counts = {partition.topic: self.topics[partition.topic] for partition in self.partitions}
        for each in counts.values():
            each.traffic.look(each.records, now_ms)
        return {topic: each.traffic for topic, each in counts.items()}

    def take_updates(self) -> list[SymbolUpdate]:
        """Return the symbol updates since the last call."""
        updates, self._updates = self._updates or [], None if self._updates is None else []
        return updates

    def summarize(self, partitions: Iterable[Partition], now_ms: int) -> Dispatch:
        """End the interval on the partitions: one summary a feed, and positions that say what they cover."""
        dispatch = Dispatch()
        parts: dict[FeedKey, dict[Partition, tuple[Window, int]]] = defaultdict(dict)
        for partition in partitions:
            owned = self.partitions[partition]
            for seat in owned.seats.values():
                parts[seat.feed.key][partition] = seat.window, owned.since_ms
                seat.window = Window()
            owned.summarized, owned.since_ms = max(owned.next_offset, owned.summarized), now_ms
            dispatch.positions[partition] = owned.position
        for key, windows in parts.items():
            dispatch.add(self._factory.summary(key, windows, now_ms, self._period))
        return dispatch
