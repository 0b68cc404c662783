"""The Kafka consumer: records, partitions coming and going, positions, lag. Used from the loop thread only.

confluent-kafka makes a call from another thread wait for the poll in progress; rebalance callbacks run inside `take`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from exporter.config.schema import InputConfig
from exporter.config.subscription import Subscription
from exporter.kafka.connection_errors import Unreachable, error_text
from exporter.kafka.positions import Position, Start
from exporter.kafka.probe import SearchedPlaces, is_of_a_place
from exporter.kafka.unreadable import LEAST_STARTS, Gap
from exporter.model import Partition, Record
from exporter.runtime import logs
from exporter.runtime.foreign_text import printable
from exporter.source.causes import Causes, Kind, once, refusal
from exporter.source.handler import Handler, SourceCounts
from exporter.source.intake import Intake
from exporter.source.isolation import Found, Isolation
from exporter.source.messages import Reader
from exporter.source.offsets import Offsets, committed
from exporter.source.reconnect import ReconnectPolicy
from exporter.source.topic_ids import Topics

log = logs.logger("source")

ASK_PAUSE_SECONDS = 0.2
# What children read is looked for so often.
ISOLATION_SECONDS = 0.01
# A group that does not answer for so long after partitions were handed out gets another consumer.
ASSIGN_SECONDS = 120.0
# So does a cluster of which no broker is to be found: its addresses may have changed, and librdkafka is told to keep
# to those that it knows.
DOWN_SECONDS = 120.0
_ASTRAY = (KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION)
# No connection came about; librdkafka logs why.
_UNREACHABLE = (
    KafkaError._TRANSPORT,
    KafkaError._SSL,
    KafkaError._AUTHENTICATION,
    KafkaError._RESOLVE,
    KafkaError._BAD_MSG,
)


class KafkaSource:
    """Reads the input topics as a member of the group."""

    def __init__(
        self,
        settings: InputConfig,
        make_consumer: Callable[[Callable[[KafkaError], None]], Consumer],
        make_admin: Callable[[], Any],
        make_prober: Callable[[], Any],
        isolation: Isolation,
        unreachable: Unreachable,
        *,
        down_seconds: float = DOWN_SECONDS,
    ) -> None:
        self.counts = SourceCounts()
        self.paused = False
        self.subscribed = False
        self.is_empty = False  # there was no topic to read when we subscribed
        self._make_consumer = make_consumer
        self._unreachable = unreachable
        self._handler: Handler  # set by `open`, as is the consumer
        self._consumer: Any = None
        self._intake = Intake()
        self._reader = Reader()
        self._topics = Topics(make_admin)
        self._subscription = Subscription(settings.topics)
        self._offsets = Offsets(settings, self._subscription, self._topics)
        self._mine: set[Partition] = set()
        self._unbegun: set[Partition] = set()  # handed out to us; where to begin is not known yet
        self._unbegun_at = 0.0  # since when there are any
        self._ask_at = 0.0
        self._invalid_offsets: set[Partition] = set()  # those of ours whose place in the log is gone
        self._skips = settings.on_unreadable == "skip"
        self._places = SearchedPlaces(make_prober)
        self._isolation = isolation
        self._reconnect = ReconnectPolicy(down_seconds)
        self._causes = Causes()

    def open(self, handler: Handler) -> None:
        """Make the consumer; it subscribes once the broker has answered."""
        self._handler = handler
        self._consumer = self._make_consumer(self._on_error)

    @property
    def is_reachable(self) -> bool:
        """Whether some broker answers, as far as the client says."""
        return self._reconnect.is_reachable

    @property
    def last_error(self) -> str:
        """Why nothing is read, as far as anybody said; from any thread."""
        return self._causes.shown(time.monotonic())

    @property
    def is_refused(self) -> bool:
        """Whether brokers answer, and refuse; from any thread."""
        return self._causes.is_refused(time.monotonic())

    @property
    def is_sole_reader(self) -> bool:
        """Whether all partitions that there were when we subscribed are ours."""
        return self.subscribed and self._offsets.at_start <= self._mine

    def take(self, seconds: float) -> list[Record]:
        """Return the next records, as many as `Intake` allows a turn; wait at most so long for the first."""
        if self._reconnect.is_long(time.monotonic()):
            self._look_for_brokers()
        if self._reconnect.broken and not self._reopen(seconds):
            return []
        if not self.subscribed and not self._subscribe():
            return []
        self._look_at_topics()
        if self._unbegun and time.monotonic() >= self._ask_at:
            self._begin(self._consumer, sorted(self._unbegun))
        if self._invalid_offsets:
            self._reassign()
        if self._skips and not self.paused:
            self._step_over()
        has_more = bool(self._intake) and not self.paused
        if self._isolation:
            seconds = min(seconds, ISOLATION_SECONDS)
        self._intake.fetch(self._consumer, 0 if has_more else seconds)
        if self.paused:
            return []
        isolated = self._isolated() if self._isolation else []
        return isolated + self._records(self._intake.take())

    def pause(self) -> None:
        """Stop fetching, but stay in the group: `take` goes on to serve it."""
        self._consumer.pause(self._consumer.assignment())
        self.paused = True

    def resume(self) -> None:
        """Fetch again."""
        self._consumer.resume(self._consumer.assignment())
        self.paused = False

    def metadata(self) -> object:
        """Return who we are in the group, for a transaction."""
        return self._consumer.consumer_group_metadata()

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, Position]:
        """Return what the group has committed, as it was written; raise `TimeoutError` when that is not to be had."""
        found = committed(self._consumer, partitions)
        return {partition: Position.committed(*commit, now_ms=sys.maxsize) for partition, commit in found.items()}

    def store(self, offsets: list[TopicPartition]) -> None:
        """Store offsets for the consumer to commit; those of partitions that are gone are somebody else's now."""
        ours = {(tp.topic, tp.partition) for tp in self._consumer.assignment()}
        mine = [offset for offset in offsets if (offset.topic, offset.partition) in ours]
        if mine:
            self._consumer.store_offsets(offsets=mine)
        # The consumer reads none of these, and so stores nothing of them.
        isolated = [offset for offset in offsets if Partition(offset.topic, offset.partition) in self._isolation]
        if isolated:
            self._consumer.commit(offsets=isolated, asynchronous=True)

    def high_watermarks(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the end offsets that the last fetches brought; 0 or less, or absent, while none did."""
        return {
            partition: self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]
            for partition in partitions
            if partition not in self._isolation
        }

    def close(self, seconds: float) -> bool:
        """Leave the group; wait at most so long and return whether it was left."""
        if self._consumer is None:
            return True
        # close() may hang for ever when brokers go away at the wrong moment (librdkafka #3740).
        closing = threading.Thread(target=self._consumer.close, name="consumer-close", daemon=True)
        closing.start()
        closing.join(seconds)
        return not closing.is_alive()

    # A consumer that cannot be used any more.

    def _break(self, kind: Kind, why: str) -> None:
        """Give the consumer up: what it had is somebody else's."""
        if self._reconnect.broken:
            return
        now = time.monotonic()
        wait = self._reconnect.breaks(why, now)
        self._causes.say(kind, why, now + wait)
        log.error("the consumer is broken", extra={"error": why, "next_try_seconds": wait})

    def _reopen(self, seconds: float) -> bool:
        """Replace the broken consumer once it is time; wait at most so long, and return whether there is a new one."""
        if self.subscribed:
            self.subscribed, mine = False, sorted(self._mine)
            self._forget([*mine, *self._unbegun])
            if mine:
                self.counts.rebalances["lost"] += 1
                self._handler.lost(mine)
        wait = self._reconnect.wait_seconds(time.monotonic())
        if wait > 0:
            time.sleep(min(seconds, wait))
            return False
        # In a thread of its own, see `close`; its callbacks are not listened to any more.
        threading.Thread(target=self._consumer.close, name="consumer-close", daemon=True).start()
        self._consumer = self._make_consumer(self._on_error)
        self._topics.renew()
        self._reconnect.replaced()
        return True

    def _look_for_brokers(self) -> None:
        try:
            self._consumer.list_topics(timeout=1.0)
        except KafkaException:
            self._break(Kind.SILENT, f"no broker was found for {self._reconnect.down_seconds:g} s")
        self._reconnect.broker_up()

    # Joining the group.

    def _subscribe(self) -> bool:
        """Look at topics and offsets before joining: only so a later partition can be told from a new group."""
        try:
            self._offsets.snapshot(self._consumer)
        except (KafkaException, TimeoutError) as error:
            # A group that may not be used is silent; its refusal comes as an event of its own.
            if (message := self._consumer.poll(0)) is not None:
                self._on_error(message.error())
                return False
            # Of some connections that fail there are only lines in the log.
            text = self._unreachable.heard() or error_text(error)
            self._causes.say(Kind.SILENT, text, time.monotonic())
            if self.last_error == error_text(error):  # what is known better is in the log already
                log.warning("the group cannot be joined yet", extra={"error": text})
            return False
        self._causes.over()
        self.is_empty = not self._offsets.at_start
        self._consumer.subscribe(
            self._subscription.subscribed, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        self.subscribed = True
        return True

    def _on_assign(self, consumer: Any, assigned: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return  # one that was given up
        self.counts.rebalances["assigned"] += 1
        if not self._begin(consumer, self._meant(assigned)):
            consumer.incremental_assign([])  # which says that we have heard of them

    def _begin(self, consumer: Any, partitions: list[Partition]) -> bool:
        """Begin to read and return True, or else try again later; called with a rebalance or between two polls."""
        starts = self._starts(partitions)
        if starts is None:
            return False
        self._mine |= starts.keys()
        self._unbegun -= starts.keys()
        self._causes.over()
        self._note(consumer, starts)
        self._handler.assigned(starts)
        for partition, start in starts.items():
            if start.position.starts > LEAST_STARTS:
                self._isolation.add(partition, start.first, start.end)
        offsets = [TopicPartition(*one, start.first) for one, start in starts.items() if one not in self._isolation]
        consumer.incremental_assign(offsets)
        if self.paused:
            consumer.pause(offsets)
        return True

    def _on_revoke(self, consumer: Any, revoked: list[TopicPartition]) -> None:
        self._gone(consumer, revoked, "revoked", self._handler.revoked)

    def _on_lost(self, consumer: Any, lost: list[TopicPartition]) -> None:
        self._gone(consumer, lost, "lost", self._handler.lost)

    def _gone(
        self, consumer: Any, gone: list[TopicPartition], event: str, tell: Callable[[list[Partition]], None]
    ) -> None:
        if consumer is not self._consumer:
            return
        self.counts.rebalances[event] += 1
        partitions = self._meant(gone)
        begun = self._assigned(partition for partition in partitions if partition in self._mine)
        tell(partitions)
        self._forget(partitions)
        consumer.incremental_unassign(begun)

    def _meant(self, partitions: Iterable[TopicPartition]) -> list[Partition]:
        """Return the partitions that are to be read; brokers that match patterns also hand out internal topics."""
        return [
            self._reader.partition(tp.topic, tp.partition) for tp in partitions if self._subscription.means(tp.topic)
        ]

    def _forget(self, partitions: Sequence[Partition]) -> None:
        self._intake.drop(frozenset(partitions))
        self._places.passed(partitions)
        self._isolation.drop(partitions)
        for partition in partitions:
            self._mine.discard(partition)
            self._unbegun.discard(partition)
            self._invalid_offsets.discard(partition)

    def _starts(self, partitions: list[Partition]) -> dict[Partition, Start] | None:
        """Find out where to begin; None when that is unavailable now, and then `take` asks again.

        Own questions, asked until they are answered: librdkafka asks once, and when that one fails the partition
        stays silent for ever (librdkafka #5586). The consumer is polled in between, or it would lose its group.
        """
        try:
            return self._offsets.starts(self._consumer, partitions, self._handler.waiting)
        except (KafkaException, TimeoutError) as error:
            now = time.monotonic()
            self._causes.say(Kind.SILENT, f"positions are unavailable: {error_text(error)}", now)
            log.warning(
                "positions unavailable, retrying", extra={"error": error_text(error), "partitions": len(partitions)}
            )
            if not self._unbegun:
                self._unbegun_at = now
            self._unbegun |= set(partitions)
            self._ask_at = now + ASK_PAUSE_SECONDS
            if now - self._unbegun_at > ASSIGN_SECONDS:
                self._break(Kind.SILENT, f"positions were unavailable for {ASSIGN_SECONDS:g} s: {error_text(error)}")
            return None

    # Partitions whose place in the log is gone.

    def _look_at_topics(self) -> None:
        others, gone = self._offsets.look(time.monotonic())
        self._invalid_offsets |= others & self._mine
        if gone:
            names = " ".join(sorted({partition.topic for partition in gone}))
            self._causes.say(Kind.MISSING, f"deleted: {names}", time.monotonic())
            self._handler.vanished(sorted(gone))

    def _reassign(self) -> None:
        """Let go of partitions and take them anew, as in a rebalance: so what was read is published before."""
        partitions = sorted(self._invalid_offsets)
        try:
            self._offsets.ends(partitions)
        except KafkaException as error:
            # Perhaps its topic is being deleted: then the group will take it from us.
            log.debug("a partition is not to be had", extra={"error": str(error)})
            return
        assigned = self._assigned(partitions)
        self._handler.revoked(partitions)
        self._forget(partitions)
        self._consumer.incremental_unassign(assigned)
        self._begin(self._consumer, partitions)

    # Places that cannot be read.

    @property
    def standing(self) -> list[str]:
        """A line for each partition that stands at a place which cannot be read."""
        return self._places.told(time.monotonic()) + self._isolation.told()

    def _step_over(self) -> None:
        """Go on behind what cannot be read, once it is known where that is."""
        found = self._places.search(time.monotonic())
        if found is None:
            return
        partition, gap, error = found
        self._handler.unreadable(partition, gap, error)
        self._intake.drop({partition})
        self._consumer.incremental_unassign([TopicPartition(*partition)])
        self._consumer.incremental_assign([TopicPartition(*partition, gap.end)])

    # Places that end the process which reads them.

    def _assigned(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        """Return those of the partitions that the consumer reads: all but those that children read."""
        return [TopicPartition(*partition) for partition in partitions if partition not in self._isolation]

    def _note(self, consumer: Any, starts: Mapping[Partition, Start]) -> None:
        """Commit that reading begins, before it does: what is committed later may come too late.

        Positions stay as they are, which the group has just answered and no transaction changes any more.
        """
        noted = [
            TopicPartition(*partition, start.position.offset, start.position.metadata)
            for partition, start in starts.items()
            if start.position.starts
        ]
        if not noted:
            return
        self._handler.waiting()
        try:
            consumer.commit(offsets=noted, asynchronous=False)
        except KafkaException as error:
            log.warning("the start is not noted, should it end the process", extra={"error": error_text(error)})

    def _isolated(self) -> list[Record]:
        """Return what children have read, or go on where they came to."""
        records, over = self._isolation.take(time.monotonic())
        if over is not None:
            self._go_on(*over)
        return records

    def _go_on(self, partition: Partition, found: Found) -> None:
        """Read a partition as ever again, behind what ends processes; or leave it there, where that is asked."""
        if found.end == found.first:
            text = "child processes found nothing that ends them, the partition is read as usual"
            log.warning(text, extra={"partition": str(partition), "offset": found.end})
        elif self._skips:
            self._handler.unreadable(partition, Gap(found.first, found.end), found.error, is_deadly=True)
        else:
            if partition not in self._isolation:
                self._handler.held(partition, found.first, found.error)
            self._isolation.stand(partition, found, time.monotonic())
            return
        self._isolation.drop([partition])
        self._consumer.incremental_assign([TopicPartition(*partition, found.end)])

    # Records.

    def _records(self, messages: list[Any]) -> list[Record]:
        if not messages:
            return []
        self._reconnect.broker_up()
        records, errors = self._reader.read(messages)
        if self._places:
            self._places.passed({record.partition for record in records})
        for message in errors:
            self._on_record_error(message, message.error())
        return records

    def _on_record_error(self, message: Any, error: KafkaError) -> None:
        partition = self._reader.partition(message.topic(), message.partition())
        if error.code() == KafkaError._PARTITION_EOF:
            self._handler.exhausted(partition, message.offset())
            self._places.passed([partition])
        elif is_of_a_place(message):
            self._count(error)
            if partition in self._mine:
                self._places.failed(partition, message.offset(), error.str(), time.monotonic())
        else:
            if error.code() in _ASTRAY:
                self._invalid_offsets |= {partition} & self._mine
            self._on_error(error)

    def _count(self, error: KafkaError) -> None:
        name = error.name()
        self.counts.errors[name] = self.counts.errors.get(name, 0) + 1

    def _on_error(self, error: KafkaError) -> None:
        self._count(error)
        text, now = printable(once(error.str())), time.monotonic()
        fault = self._unreachable.explained(error.str())
        if fault is not None or error.code() in _UNREACHABLE:
            self._causes.say(Kind.UNREACHABLE, str(fault or text), now)
            return
        text = refusal(text)
        log.warning("kafka", extra={"code": error.name(), "error": text})
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._reconnect.broker_down(now)
            self._causes.say(Kind.SILENT, text, now)
        elif error.fatal() or error.code() == KafkaError._FATAL:
            # As a record the news of a fatal error has a code of its own, and does not call itself fatal.
            self._break(Kind.REFUSED, text)
        elif not self._mine:
            self._refused(error.code(), text, now)

    def _refused(self, code: int, text: str, now: float) -> None:
        if code != KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._causes.say(Kind.REFUSED, text, now)
        elif not self._causes.has(Kind.MISSING):  # that it was deleted says more
            self._causes.say(Kind.MISSING, text, now)
