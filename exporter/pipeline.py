"""From records to counters and events: the pure center of the loop.

Three offsets decide the effect of a record. Below `published` its events are published already, and it is read again
only to complete a summary. Below `counted` this process has counted it, and it is redelivered: its event is created
again, its numbers are not. From there on it is new. Owned by the loop thread; time is an argument.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from exporter.assignments import RecordPipeline, Turn, do_nothing
from exporter.config.feed_globs import FeedFilter
from exporter.decoding.batch_stats import BatchStats, measured
from exporter.decoding.named_feed import named_feed
from exporter.decoding.record_decoder import RecordDecoder
from exporter.events.encoding import Stamp
from exporter.events.factory import EventFactory
from exporter.feeds.feed import Feed, PartitionFeed, Window
from exporter.feeds.partitions import AssignedPartition, PartitionProgress
from exporter.feeds.table import FeedTable, TableSettings
from exporter.kafka.positions import Start
from exporter.model import Arrival, FeedKey, Partition, Reason, Record, Rejected, SymbolUpdate
from exporter.plain_runs import PlainRuns
from exporter.publishing.dispatch import Dispatch

# No clock is wrong by so many times the age of live data: an older record is a replay.
OLD_AGES = 10
# The statistics of a batch are made with it, where no other thread waits for the state.
Decoded = BatchStats | Rejected | None


class PipelineSettings(NamedTuple):
    """What may change of a pipeline."""

    decoder: RecordDecoder
    table: TableSettings
    batch_events: Callable[[str], bool]
    summary_period_seconds: float
    live_age_seconds: float


class Pipeline(RecordPipeline):
    """The feeds and the assigned partitions: applies records to them, and creates the events.

    `batch_events` returns whether the batches of a topic have events, `shown_as` the name under which its counts are
    kept; topics of one name share them.
    """

    def __init__(
        self,
        decoder: RecordDecoder,
        table: FeedTable,
        factory: EventFactory,
        *,
        batch_events: Callable[[str], bool],
        summary_period_seconds: float,
        live_age_seconds: float,
        keep_updates: bool,
        shown_as: Callable[[str], str] = str,
    ) -> None:
        super().__init__(factory, shown_as)
        self.table = table
        self._decoder = decoder
        self._batch_events = batch_events
        self._period = round(summary_period_seconds)
        self._live_age_ms = round(live_age_seconds * 1000)
        self._keep_updates = keep_updates
        self._runs = None if factory.core is None else PlainRuns(factory.core, factory)

    def assign(self, partition: Partition, start: Start) -> None:
        """See Assignments."""
        super().assign(partition, start)
        self.partitions[partition].has_batch_events = self._batch_events(partition.topic)

    def has_open_windows(self, wanted: FeedFilter) -> bool:
        """Return whether a summary is due of a feed that is not wanted."""
        seen = (here for owned in self.partitions.values() for here in owned.feeds.values() if here.window.batches)
        return any(not wanted.wants(here.feed.key) for here in seen)

    def reconfigure(self, settings: PipelineSettings, now_ms: int) -> Iterator[None]:
        """Put other settings in force, in steps, between two turns and with no summary due of a feed that is left out.

        No record is affected that was analyzed before. A feed that is left out loses its state, as if its partitions
        were released; its counters stay.
        """
        self._decoder, table, self._batch_events, period, live_age = settings
        self._period, self._live_age_ms = round(period), round(live_age * 1000)
        for partition, owned in self.partitions.items():
            owned.has_batch_events = self._batch_events(partition.topic)
        yield from self.table.reconfigure(table, now_ms, self._detach)
        for feed in list(self.table.feeds.values()):
            if not table.wanted.wants(feed.key):
                self._leave_out(feed)
            yield

    def _leave_out(self, feed: Feed) -> None:
        for partition in feed.partitions | feed.rejected_on:
            owned = self.partitions[partition]
            owned.feeds.pop(feed.key, None)
            owned.rejected_feeds.discard(feed)
            feed.release(partition)

    def decode(self, records: Iterable[Record]) -> list[Decoded]:
        """Return for each record its batch, its rejection if it has no valid one, or None for what is no batch."""
        decoded: list[Decoded] = []
        plain = self._decoder.plain
        for record in records:
            # An error event about an error event would cause the next one, without end.
            if record.is_event:
                decoded.append(None)
            elif plain is not None and (value := record.value) and (batch := plain(value)) is not None:
                decoded.append(batch)
            else:
                decoded.append(self._decoded(record))
        return decoded

    def _decoded(self, record: Record) -> Decoded:
        try:
            batch = self._decoder.read(record)
        except Rejected as rejected:
            rejected.feed = rejected.feed or named_feed(record.value, self.table.limits)
            return rejected.detached()
        return None if batch is None else measured(batch)

    def analyze(
        self,
        records: Sequence[Record],
        decoded: Sequence[Decoded],
        now_ms: int,
        yield_to_waiters: Callable[[], None] = do_nothing,
    ) -> Dispatch:
        """Apply the records in order, and return their events and the positions reached.

        `yield_to_waiters` is called after each record but those of runs, so that other threads use the state.
        """
        turn = Turn(now_ms, Stamp.at(now_ms), [])
        touched: dict[Partition, AssignedPartition] = {}
        if self._runs is not None:
            self._runs.begin(turn)
        index = 0
        while index < len(records):
            record = records[index]
            owned = self.partitions.get(record.partition)
            if owned is None:
                index += 1  # revoked since it was fetched; the next owner reads it
                continue
            touched[record.partition] = owned
            if self._runs is not None and (end := self._take_run(turn, owned, records, decoded, index)) > index:
                index = end
                continue
            self._apply(turn, owned, record, decoded[index])
            index += 1
            yield_to_waiters()
        return Dispatch(turn.events, {partition: owned.position for partition, owned in touched.items()})

    def _take_run(
        self,
        turn: Turn,
        owned: AssignedPartition,
        records: Sequence[Record],
        decoded: Sequence[Decoded],
        begin: int,
    ) -> int:
        """Apply the records from `begin` on, as long as they are plain, and return the index of the next one."""
        runs = cast(PlainRuns, self._runs)
        live_since_ms = turn.now_ms - self._live_age_ms * (1 if owned.is_behind else OLD_AGES)
        end = runs.take(turn, owned, records, decoded, begin, live_since_ms)
        if self._keep_updates:
            for record, content in zip(records[begin:end], decoded[begin:end], strict=True):
                stats = cast(BatchStats, content)
                update = SymbolUpdate(record.partition, record.offset, stats.key, turn.now_ms, stats.names)
                self.updates.append(update)
        return end

    def _apply(self, turn: Turn, owned: AssignedPartition, record: Record, content: Decoded) -> None:
        try:
            if isinstance(content, Rejected):
                raise content
            if content is None:
                self._count_filtered(owned, record)
            else:
                self._accept(turn, owned, record, content)
        except Rejected as rejected:
            rejected.detached()
            is_batch = content is not None and not isinstance(content, Rejected)
            if is_batch and rejected.reason is not Reason.INVALID_FEED:
                rejected.feed = cast(BatchStats, content).key
            self._reject(turn, owned, record, rejected)
        owned.next_offset = record.offset + 1
        owned.last_record_ms = record.timestamp_ms
        if record.offset >= owned.counted:
            owned.counted = record.offset + 1

    def _accept(self, turn: Turn, owned: AssignedPartition, record: Record, stats: BatchStats) -> None:
        key = stats.key
        here = owned.feeds.get(key)
        feed = self.table.find(key, turn.now_ms, self._detach) if here is None else here.feed
        if feed is None:
            if self._count_filtered(owned, record):
                owned.traffic.valid_ms = turn.now_ms
            return
        if here is None or not self._add(turn, owned, record, feed, stats, is_admitted=False):
            self.table.admit(feed, stats.symbols, turn.now_ms)
            here = here or self._hold(turn, owned, record.partition, feed)
            self._add(turn, owned, record, feed, stats, is_admitted=True)
        count(owned, record.offset)
        if record.offset >= owned.summarized:
            here.window.add(stats)
        if owned.has_batch_events and record.offset >= owned.published:
            turn.events.append(self._factory.batch(record, feed.key, stats.result, turn.stamp))

    def _add(
        self,
        turn: Turn,
        owned: AssignedPartition,
        record: Record,
        feed: Feed,
        stats: BatchStats,
        *,
        is_admitted: bool,
    ) -> bool:
        """Add a batch to its feed; return False, with nothing done, if its symbols are neither known nor admitted."""
        arrival = Arrival(record.timestamp_ms, turn.now_ms, self._is_live(owned, record, turn.now_ms))
        if record.offset < max(owned.counted, owned.published):
            if not feed.remember(stats, arrival.sent_ms, is_admitted=is_admitted):
                return False
            if record.offset < owned.published:
                feed.health.freshness.recall(record.timestamp_ms)
            return True
        if not feed.count(stats, arrival, (record.partition, record.offset), is_admitted=is_admitted):
            return False
        owned.traffic.valid_ms = turn.now_ms
        if self._keep_updates:
            update = SymbolUpdate(record.partition, record.offset, feed.key, turn.now_ms, stats.names)
            self.updates.append(update)
        return True

    def _count_filtered(self, owned: AssignedPartition, record: Record) -> bool:
        """Count a record that is not analyzed, and return whether it is new."""
        is_new = count(owned, record.offset)
        owned.topic.filtered += is_new
        return is_new

    def _is_live(self, owned: AssignedPartition, record: Record, now_ms: int) -> bool:
        """Return whether the data of a record are current.

        Those of a published record are not. Those of an old record are not either while the partition has more to
        read; at its end a slightly old stamp rather shows that a clock is wrong.
        """
        if record.offset < owned.published:
            return False
        age_ms = now_ms - record.timestamp_ms if record.timestamp_ms > 0 else 0
        return age_ms <= self._live_age_ms or (not owned.is_behind and age_ms <= OLD_AGES * self._live_age_ms)

    def _hold(self, turn: Turn, owned: AssignedPartition, partition: Partition, feed: Feed) -> PartitionFeed:
        """Attach a feed to a partition. A new feed is kept only here, once a batch of it is accepted."""
        self.table.keep(feed)
        feed.hold(partition, turn.now_ms)
        here = PartitionFeed(feed) if self._runs is None else self._runs.lane(feed, partition)
        owned.feeds[feed.key] = here
        return here

    def _detach(self, feed: Feed) -> bool:
        """Detach a feed from its partitions, for it to be forgotten; return False while a summary of it is due."""
        owned = [self.partitions[each] for each in feed.partitions | feed.rejected_on]
        if any(feed.key in each.feeds and each.feeds[feed.key].window.batches for each in owned):
            return False
        for each in owned:
            each.feeds.pop(feed.key, None)
            each.rejected_feeds.discard(feed)
        return True

    def _reject(self, turn: Turn, owned: AssignedPartition, record: Record, rejected: Rejected) -> None:
        if count(owned, record.offset):
            owned.topic.rejected[rejected.reason] += 1
            owned.topic.places[rejected.reason] = (record.partition, record.offset)
            self.rejection_log.add(record, rejected, turn.now_ms)
            known = rejected.feed if rejected.feed in self.table.feeds else None
            self.recent_rejections.add(record, rejected, known, turn.now_ms)
            if self._is_live(owned, record, turn.now_ms):
                self._attribute(owned, record, rejected, turn.now_ms)
        if record.offset < owned.published:
            return
        suppressed = self._limiter.admit(rejected.reason, turn.now_ms)
        if suppressed is not None:
            turn.events.append(self._factory.rejected(record, rejected, suppressed, turn.stamp.text))

    def _attribute(self, owned: AssignedPartition, record: Record, rejected: Rejected, now_ms: int) -> None:
        """Add a current rejection to its topic and to the feed that it names; an unknown feed is not created."""
        place = record.partition, record.offset, now_ms
        owned.traffic.rejections.add(rejected, *place)
        if rejected.feed is None:
            owned.traffic.strays.add(rejected, *place)
        elif (feed := self.table.known(rejected.feed)) is not None:
            owned.rejected_feeds.add(feed)
            feed.reject(rejected, *place)

    def progress(
        self, ends: Mapping[Partition, int], is_paused: bool, now_ms: int
    ) -> dict[Partition, PartitionProgress]:
        """Evaluate the assigned partitions, once a second, and return the progress on each."""
        return {
            partition: owned.evaluate(ends.get(partition, 0), is_paused, now_ms, self._live_age_ms)
            for partition, owned in self.partitions.items()
        }

    def summarize(self, partitions: Iterable[Partition], now_ms: int) -> Dispatch:
        """End the interval on the partitions; return a summary for each feed, and the positions that they cover."""
        dispatch = Dispatch()
        parts: dict[FeedKey, dict[Partition, tuple[Window, int]]] = defaultdict(dict)
        for partition in partitions:
            owned = self.partitions[partition]
            for here in owned.feeds.values():
                parts[here.feed.key][partition] = here.window, owned.since_ms
                here.window = here.feed.new_window()
            owned.summarized, owned.since_ms = max(owned.next_offset, owned.summarized), now_ms
            dispatch.positions[partition] = owned.position
        for key, windows in parts.items():
            dispatch.add(self._factory.summary(key, windows, now_ms, self._period))
        return dispatch


def count(owned: AssignedPartition, offset: int) -> bool:
    """Count a record of the topic, and return whether it is new, so that its content is counted as well."""
    topic = owned.topic
    if offset < owned.counted:
        topic.redelivered += 1
        return False
    if offset < owned.published:
        topic.recovered += 1
        return False
    topic.records += 1
    owned.traffic.records += 1
    return True
