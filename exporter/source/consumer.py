"""The Kafka consumer of the sidecar: records, assigned partitions, positions. Loop thread only, unless noted.

confluent-kafka serializes calls of other threads with the poll in progress; rebalance callbacks run inside `take`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from exporter.config.schema import InputConfig
from exporter.config.subscription import Subscription
from exporter.kafka.connection_errors import ConnectionFaults, error_text
from exporter.kafka.gap_search import GapSearch, is_unreadable
from exporter.kafka.lifeline import Lifeline
from exporter.kafka.positions import Start
from exporter.kafka.unreadable import LEAST_STARTS
from exporter.model import Partition, Record
from exporter.runtime import logs
from exporter.source.assignment_state import AssignmentState
from exporter.source.blocked_partitions import UnblockingMember
from exporter.source.causes import CauseKind
from exporter.source.errors import ConsumerErrors
from exporter.source.handler import RebalanceHandler, SourceCounts
from exporter.source.held import Hold, NoHold
from exporter.source.isolation import Isolation
from exporter.source.membership import commit_starts
from exporter.source.messages import MessageReader
from exporter.source.offsets import Offsets
from exporter.source.topic_ids import TopicIds

log = logs.logger("source")

# The consumer is replaced when the group does not answer for ASSIGN_SECONDS after an assignment, or no broker is found
# for DOWN_SECONDS: their addresses may have changed, and librdkafka keeps to those that it knows.
ASSIGN_SECONDS = DOWN_SECONDS = 120.0
# The longest wait for the consumer while child processes read: their records are taken between two polls.
ISOLATION_SECONDS = 0.01
_INVALID_OFFSET = (KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION)


class KafkaSource(UnblockingMember):
    """Reader of the input topics as a member of the group."""

    def __init__(
        self,
        settings: InputConfig,
        make_consumer: Callable[[Callable[[KafkaError], None]], Consumer],
        make_admin: Callable[[], Any],
        make_prober: Callable[[], Any],
        isolation: Isolation,
        faults: ConnectionFaults,
        *,
        hold: Hold | None = None,
        down_seconds: float = DOWN_SECONDS,
        is_outdated: Callable[[], bool] = lambda: False,
        lifeline: Lifeline | None = None,
    ) -> None:
        super().__init__(isolation, GapSearch(make_prober), hold or NoHold(), skips=settings.on_unreadable == "skip")
        self.counts = SourceCounts()
        self.subscribed = False
        self.is_empty = False  # no topic existed when the consumer subscribed
        self._make_consumer = make_consumer
        self._is_outdated = is_outdated
        self._lifeline = lifeline or Lifeline(lambda: False)
        self._reader = MessageReader(origin=any(one.reads_origin for one in settings.formats))
        self._topics = TopicIds(make_admin)
        self._subscription = Subscription(settings.topics, settings.exclude)
        self._offsets = Offsets(settings, self._subscription, self._topics)
        self._assignment = AssignmentState()
        self._errors = ConsumerErrors(self.counts, faults, down_seconds)
        self._reconnect = self._errors.reconnect

    def open(self, handler: RebalanceHandler) -> None:
        """Make the consumer; it subscribes once the broker has answered."""
        self._handler = handler
        self._consumer = self._make_consumer(self._on_error)

    @property
    def is_reachable(self) -> bool:
        """Whether a broker answers, as far as the client reports."""
        return self._reconnect.is_reachable

    @property
    def last_error(self) -> str:
        """The cause why nothing is read, empty if unknown; from any thread."""
        return self._errors.last_error

    @property
    def is_refused(self) -> bool:
        """Whether brokers answer, and refuse; from any thread."""
        return self._errors.is_refused

    @property
    def is_sole_reader(self) -> bool:
        """Whether all partitions that existed at the subscription are assigned to this consumer."""
        return self.subscribed and self._offsets.at_start <= self._assignment.reading

    def take(self, seconds: float) -> list[Record]:
        """Return the next records, as many as `Intake` allows in a turn; wait up to `seconds` for the first."""
        if self._has_failed() and not self._reopen(seconds):
            return []
        if not self.subscribed and not self._subscribe():
            return []
        self._poll_topics()
        if due := self._assignment.due(time.monotonic()):
            self._begin(self._consumer, due)
        if self._assignment.invalid:
            self._reassign()
        if self._skips and not self.paused:
            self._skip_unreadable()
        has_more = bool(self._intake) and not self.paused
        if self._isolation:
            seconds = min(seconds, ISOLATION_SECONDS)
        self._intake.fetch(self._consumer, 0 if has_more else seconds)
        if self.paused:
            return []
        if self._isolation:
            return self._mixed()
        return self._records(self._released(self._intake.take(), self._assignment.reading))

    # Replacing a consumer that failed.

    def _has_failed(self) -> bool:
        """Return whether the consumer is to be replaced."""
        if self._reconnect.is_down_too_long(time.monotonic()):
            self._look_for_brokers()
        if not self._reconnect.failure and self._is_outdated():
            self._errors.outdated()
        if not self._reconnect.failure and self._lifeline.is_lost(self._consumer, is_silent=self._is_silent()):
            self._errors.consumer_failed(CauseKind.SILENT, "it has lost the brokers, which a new client finds")
        return bool(self._reconnect.failure)

    def _is_silent(self) -> bool:
        return not self._assignment.reading or not self._reconnect.is_reachable

    def _reopen(self, seconds: float) -> bool:
        """Replace the failed consumer when it is time; wait up to `seconds`, and return whether there is a new one."""
        if self.subscribed:
            self.subscribed, lost = False, sorted(self._assignment.reading)
            self._release([*lost, *self._assignment.pending])
            if lost:
                self.counts.rebalances["lost"] += 1
                self._handler.lost(lost)
        wait = self._reconnect.wait_seconds(time.monotonic())
        if wait > 0:
            time.sleep(min(seconds, wait))
            return False
        try:
            made = self._make_consumer(self._on_error)
        except KafkaException as error:  # files of certificates may be replaced at this moment
            self._errors.cannot_reopen(error)
            return False
        self._close_in_background()  # callbacks of the old consumer are ignored from here on
        self._consumer = made
        self._topics.renew()
        self._reconnect.reopened()
        return True

    def _look_for_brokers(self) -> None:
        try:
            self._consumer.list_topics(timeout=1.0)
        except KafkaException:
            why = f"no broker was found for {self._reconnect.down_seconds:g} s"
            self._errors.consumer_failed(CauseKind.SILENT, why)
        self._reconnect.broker_up()

    # Joining the group.

    def _subscribe(self) -> bool:
        """Read topics and offsets, then subscribe: this order distinguishes a later partition from a new group."""
        try:
            self._offsets.snapshot(self._consumer)
        except (KafkaException, TimeoutError) as error:
            # The request for a forbidden group times out; the refusal comes as a message.
            if (message := self._consumer.poll(0)) is not None:
                self._on_error(message.error())
            else:
                self._errors.cannot_join(error)
            return False
        self._errors.causes.clear()
        self.is_empty = not self._offsets.at_start
        self._consumer.subscribe(
            self._subscription.subscribed, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        self.subscribed = True
        return True

    def _on_assign(self, consumer: Any, assigned: list[TopicPartition]) -> None:
        if consumer is not self._consumer:  # it was replaced
            return
        self.counts.rebalances["assigned"] += 1
        if not self._begin(consumer, self._subscribed_of(assigned)):
            consumer.incremental_assign([])  # confirms the assignment

    def _begin(self, consumer: Any, partitions: list[Partition]) -> bool:
        """Start reading and return True, or else retry later. Called in a rebalance or between two polls."""
        starts = self._starts(partitions)
        if starts is None:
            return False
        self._assignment.begin(starts)
        self._errors.causes.clear()
        self._handler.waiting()
        commit_starts(consumer, starts)
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
        self._unassign(consumer, revoked, "revoked", self._handler.revoked)

    def _on_lost(self, consumer: Any, lost: list[TopicPartition]) -> None:
        self._unassign(consumer, lost, "lost", self._handler.lost)

    def _unassign(
        self, consumer: Any, gone: list[TopicPartition], event: str, notify: Callable[[list[Partition]], None]
    ) -> None:
        if consumer is not self._consumer:
            return
        self.counts.rebalances[event] += 1
        partitions = self._subscribed_of(gone)
        begun = self._read_by_consumer(partition for partition in partitions if partition in self._assignment.reading)
        notify(partitions)
        self._release(partitions)
        consumer.incremental_unassign(begun)

    def _subscribed_of(self, partitions: Iterable[TopicPartition]) -> list[Partition]:
        """Return the partitions of subscribed topics; brokers that match patterns also assign internal topics."""
        found = (tp for tp in partitions if self._subscription.means(tp.topic))
        return [self._reader.partition(tp.topic, tp.partition) for tp in found]

    def _release(self, partitions: Sequence[Partition]) -> None:
        self._intake.drop(frozenset(partitions))
        self._hold.drop(frozenset(partitions))
        self._stopped -= frozenset(partitions)
        self._gaps.passed(partitions)
        self._isolation.drop(partitions)
        self._assignment.release(partitions)

    def _starts(self, partitions: list[Partition]) -> dict[Partition, Start] | None:
        """Return where to start; None when the offsets are unavailable now, and then `take` retries.

        These requests are retried here, because librdkafka asks once, and a partition whose request fails stays silent
        without end (librdkafka #5586). The consumer polls between two tries, or it would lose its membership.
        """
        try:
            return self._offsets.starts(self._consumer, partitions, self._handler.waiting)
        except (KafkaException, TimeoutError) as error:
            text, now = error_text(error), time.monotonic()
            self._errors.causes.set(CauseKind.SILENT, f"committed offsets are unavailable: {text}", now)
            log.warning("committed offsets unavailable, retrying", extra={"error": text, "partitions": len(partitions)})
            if self._assignment.postpone(partitions, now) > ASSIGN_SECONDS:
                why = f"committed offsets were unavailable for {ASSIGN_SECONDS:g} s: {text}"
                self._errors.consumer_failed(CauseKind.SILENT, why)
            return None

    # Partitions whose offset no longer exists.

    def _poll_topics(self) -> None:
        recreated, deleted = self._offsets.poll_topics(time.monotonic())
        self._assignment.invalidate(recreated)
        if deleted:
            names = " ".join(sorted({partition.topic for partition in deleted}))
            self._errors.causes.set(CauseKind.MISSING, f"deleted: {names}", time.monotonic())
            self._handler.vanished(sorted(deleted))

    def _reassign(self) -> None:
        """Release partitions and start them again, as in a rebalance: records read before are published first."""
        partitions = sorted(self._assignment.invalid)
        try:
            self._offsets.ends(partitions)
        except KafkaException as error:
            # If the topic is being deleted, the group will revoke the partition.
            log.debug("cannot reset the position of a partition yet, retrying", extra={"error": error_text(error)})
            return
        assigned = self._read_by_consumer(partitions)
        self._handler.revoked(partitions)
        self._release(partitions)
        self._consumer.incremental_unassign(assigned)
        self._begin(self._consumer, partitions)

    # Records.

    def _records(self, messages: list[Any]) -> list[Record]:
        if not messages:
            return []
        self._reconnect.broker_up()
        records, errors = self._reader.read(messages)
        if self._gaps:
            self._gaps.passed({record.partition for record in records})
        for message in errors:
            self._on_record_error(message, message.error())
        return records

    def _mixed(self) -> list[Record]:
        """Return the next records where child processes read some partitions, whose records may have to wait, too."""
        # What they read next stays with them while what they have read last waits.
        isolated = [] if self._isolation.is_at(self._hold.partitions) else self._isolated_records()
        released = self._released([*isolated, *self._intake.take()], self._assignment.reading)
        records = [each for each in released if isinstance(each, Record)]
        return records + self._records([each for each in released if not isinstance(each, Record)])

    def _on_record_error(self, message: Any, error: KafkaError) -> None:
        partition = self._reader.partition(message.topic(), message.partition())
        if error.code() == KafkaError._PARTITION_EOF:
            self._handler.exhausted(partition, message.offset())
            self._gaps.passed([partition])
        elif is_unreadable(message):
            self._errors.count(error)
            if partition in self._assignment.reading:
                self._gaps.failed(partition, message.offset(), error.str(), time.monotonic())
        else:
            if error.code() in _INVALID_OFFSET:
                self._assignment.invalidate([partition])
            self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        self._errors.on_error(error, is_reading=bool(self._assignment.reading))
