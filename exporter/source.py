"""The Kafka consumer: records, partitions coming and going, positions, lag. Used from the loop thread only.

confluent-kafka makes a call from another thread wait for the poll in progress; rebalance callbacks run inside `take`.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from exporter.config import InputConfig
from exporter.dispatch import Position
from exporter.model import Partition, Record

log = logging.getLogger("exporter.source")

# Records a turn at most: the state's lock is held for about so many times ten microseconds.
TAKE_RECORDS = 500
ASK_SECONDS = 5.0
ASK_PAUSE_SECONDS = 0.2
# A group that does not answer for so long while partitions are handed out ends the consumer; the next one asks again.
ASSIGN_SECONDS = 120.0


class Handler(Protocol):
    """Whom the source tells that partitions come and go; called inside `take` and `close`."""

    def assigned(self, starts: Mapping[Partition, tuple[Position, int]]) -> None:
        """Partitions are ours now; each with its position and its end offset at this moment."""

    def revoked(self, partitions: list[Partition]) -> None:
        """Partitions are about to go; what is read of them may still be committed."""

    def lost(self, partitions: list[Partition]) -> None:
        """Partitions are gone already."""

    def waiting(self) -> None:
        """The broker is being asked and has not answered; this may go on for a while."""


class SourceCounts:
    """What happened to the consumer, for whoever scrapes."""

    def __init__(self) -> None:
        self.rebalances = dict.fromkeys(("assigned", "revoked", "lost"), 0)
        # librdkafka has some hundred codes; these two are the ones that anybody waits for.
        self.errors = dict.fromkeys(("_ALL_BROKERS_DOWN", "_TRANSPORT"), 0)


class KafkaSource:
    """Reads the input topics as a member of the group."""

    def __init__(
        self, settings: InputConfig, make_consumer: Callable[[Callable[[KafkaError], None]], Consumer]
    ) -> None:
        self.counts = SourceCounts()
        self.ends: dict[Partition, int] = {}  # position at which a partition was seen to have no more records
        self.paused = False
        self.subscribed = False
        self._settings = settings
        self._make_consumer = make_consumer
        self._handler: Handler  # set by `open`, as is the consumer
        self._consumer: Any = None
        self._interned: dict[tuple[str, int], Partition] = {}
        self._at_start: set[Partition] = set()
        self._group_was_new = False

    def open(self, handler: Handler) -> None:
        """Make the consumer; it subscribes once the broker has answered."""
        self._handler = handler
        self._consumer = self._make_consumer(self._on_error)

    def take(self, seconds: float) -> list[Record]:
        """Return the next records, at most `TAKE_RECORDS`; wait at most so long for the first."""
        if not self.subscribed and not self._subscribe():
            return []
        first = self._consumer.poll(seconds)
        if first is None:
            return []
        return self._records([first, *self._consumer.consume(TAKE_RECORDS - 1, 0)])

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

    def offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the group's committed offsets; raise `TimeoutError` when they are not to be had now."""
        return {partition: offset for partition, (offset, _) in self._committed(partitions).items()}

    def store(self, offsets: list[TopicPartition]) -> None:
        """Store offsets for the consumer to commit; those of partitions that are gone are somebody else's now."""
        ours = {(tp.topic, tp.partition) for tp in self._consumer.assignment()}
        mine = [offset for offset in offsets if (offset.topic, offset.partition) in ours]
        if mine:
            self._consumer.store_offsets(offsets=mine)

    def high_watermarks(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the end offsets that the last fetches brought; a partition without one is absent."""
        marks: dict[Partition, int] = {}
        for partition in partitions:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
            if high > 0 or partition in self.ends:
                marks[partition] = max(high, 0)
        return marks

    def close(self, seconds: float) -> bool:
        """Leave the group; wait at most so long and return whether it was left."""
        if self._consumer is None:
            return True
        # close() may hang for ever when brokers go away at the wrong moment (librdkafka #3740).
        closing = threading.Thread(target=self._consumer.close, name="consumer-close", daemon=True)
        closing.start()
        closing.join(seconds)
        return not closing.is_alive()

    # Joining the group.

    def _subscribe(self) -> bool:
        """Look at topics and offsets before joining: only so a later partition can be told from a new group."""
        try:
            self._at_start = self._matching()
            known = self._committed(self._at_start)
        except (KafkaException, TimeoutError) as error:
            log.debug("no broker yet", extra={"error": str(error)})
            return False
        self._group_was_new = not known
        self._consumer.subscribe(
            list(self._settings.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        self.subscribed = True
        return True

    def _matching(self) -> set[Partition]:
        """Return the partitions of all topics that the subscription means."""
        patterns = [re.compile(topic) for topic in self._settings.topics if topic.startswith("^")]
        names = set(self._settings.topics)
        topics = self._consumer.list_topics(timeout=1.0).topics
        return {
            Partition(name, number)
            for name, topic in topics.items()
            if name in names or any(pattern.match(name) for pattern in patterns)
            for number in topic.partitions
        }

    def _on_assign(self, consumer: Any, assigned: list[TopicPartition]) -> None:
        self.counts.rebalances["assigned"] += 1
        starts = self._starts([self._partition(tp.topic, tp.partition) for tp in assigned])
        self._handler.assigned(starts)
        offsets = [TopicPartition(*partition, position.summarized) for partition, (position, _) in starts.items()]
        consumer.incremental_assign(offsets)
        if self.paused:
            consumer.pause(offsets)

    def _on_revoke(self, consumer: Any, revoked: list[TopicPartition]) -> None:
        self.counts.rebalances["revoked"] += 1
        self._gone(consumer, revoked, self._handler.revoked)

    def _on_lost(self, consumer: Any, lost: list[TopicPartition]) -> None:
        self.counts.rebalances["lost"] += 1
        self._gone(consumer, lost, self._handler.lost)

    def _gone(self, consumer: Any, gone: list[TopicPartition], tell: Callable[[list[Partition]], None]) -> None:
        partitions = [self._partition(tp.topic, tp.partition) for tp in gone]
        tell(partitions)
        for partition in partitions:
            self.ends.pop(partition, None)
        consumer.incremental_unassign(gone)

    def _starts(self, partitions: list[Partition]) -> dict[Partition, tuple[Position, int]]:
        """Find out where to begin.

        Own questions, asked until they are answered: librdkafka asks once, and when that one fails the partition
        stays silent for ever (librdkafka #5586).
        """
        deadline = time.monotonic() + ASSIGN_SECONDS
        while True:
            try:
                committed = self._committed(partitions)
                return {partition: self._start(partition, committed.get(partition)) for partition in partitions}
            except (KafkaException, TimeoutError) as error:
                log.warning("positions are not to be had yet", extra={"error": str(error)})
                if time.monotonic() > deadline:
                    raise
                self._handler.waiting()
                time.sleep(ASK_PAUSE_SECONDS)

    def _start(self, partition: Partition, committed: tuple[int, str | None] | None) -> tuple[Position, int]:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=ASK_SECONDS)
        now_ms = time.time_ns() // 1_000_000
        if committed is not None:
            position = Position.committed(*committed, now_ms)
            if position.offset > high:
                log.warning(
                    "the topic was made anew", extra={"partition": str(partition), "committed": position.offset}
                )
                return Position(low, low, now_ms), high
            return Position(position.offset, max(low, position.summarized), position.since_ms), high
        is_new = self._group_was_new and partition in self._at_start
        offset = high if is_new and self._settings.start == "latest" else low
        return Position(offset, offset, now_ms), high

    def _committed(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, str | None]]:
        asked = [TopicPartition(*partition) for partition in partitions]
        if not asked:
            return {}
        try:
            answers = self._consumer.committed(asked, timeout=ASK_SECONDS)
        except KafkaException as error:
            raise TimeoutError(str(error.args[0])) from error
        failed = next((tp.error for tp in answers if tp.error is not None), None)
        if failed is not None:
            raise TimeoutError(str(failed))
        return {
            self._partition(tp.topic, tp.partition): (tp.offset, tp.metadata)
            for tp in answers
            if tp.offset > OFFSET_INVALID
        }

    # Records.

    def _records(self, messages: list[Any]) -> list[Record]:
        records: list[Record] = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_record_error(message, error)
                continue
            records.append(
                Record(
                    self._partition(message.topic(), message.partition()),
                    message.offset(),
                    message.timestamp()[1],
                    message.value(),
                    _traceparent(message),
                )
            )
        return records

    def _on_record_error(self, message: Any, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self.ends[self._partition(message.topic(), message.partition())] = message.offset()
        else:
            self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        name = error.name()
        self.counts.errors[name] = self.counts.errors.get(name, 0) + 1
        log.warning("kafka", extra={"code": name, "error": error.str()})
        # As a record the news of a fatal error has a code of its own, and does not call itself fatal.
        if error.fatal() or error.code() == KafkaError._FATAL:
            raise KafkaException(error)

    def _partition(self, topic: str, number: int) -> Partition:
        key = (topic, number)
        partition = self._interned.get(key)
        if partition is None:
            partition = self._interned[key] = Partition(topic, number)
        return partition


def _traceparent(message: Any) -> bytes | None:
    try:
        headers = message.headers()
    except SystemError:  # what confluent-kafka makes of a header whose name is not UTF-8
        return None
    return next((value for name, value in headers if name == "traceparent"), None) if headers else None
