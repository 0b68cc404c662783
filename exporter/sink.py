"""Channels: how events reach Kafka. The only place that knows how librdkafka's producers fail.

`TransactionalChannel` commits events and input offsets in one Kafka transaction (exactly once). `IdempotentChannel`
stores offsets once their events are delivered (at least once). `NullChannel` only stores offsets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from exporter.dispatch import Position
from exporter.events import Event
from exporter.model import EventType, Partition
from exporter.publisher import ChannelError, Outcome
from exporter.registry import RegistryError

# How long one transactional call may take before it is made again; they may all be made again.
CALL_SECONDS = 10.0
# A seal that could not end in so long gets a new producer, which ends it one way or the other.
SEAL_SECONDS = 60.0

Frames = Mapping[EventType, bytes]
_HOPELESS = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE)


def topic_partitions(positions: Mapping[Partition, Position]) -> list[TopicPartition]:
    """Return the positions as confluent-kafka wants them: the offset, and what a successor needs as metadata."""
    return [TopicPartition(*partition, position.offset, position.metadata) for partition, position in positions.items()]


class _KafkaChannel:
    """What both channels to Kafka share: a producer that is made by `open`, and sending into it."""

    def __init__(self, make_producer: Callable[[], Producer], prepare: Callable[[], Frames]) -> None:
        self._make_producer = make_producer
        self._prepare = prepare
        self._frames: Frames = {}
        self._producer: Any = None

    def send(self, events: list[Event], start: int) -> tuple[int, list[Event]]:
        """Send events from index `start` on; return how far it came, and those that can never be sent."""
        produce, frames = self._producer.produce, self._frames
        hopeless: list[Event] = []
        for index in range(start, len(events)):
            event = events[index]
            try:
                produce(event.topic, frames[event.type] + event.body, event.key, headers=event.headers)
            except BufferError:
                self._producer.poll(0)
                return index, hopeless
            except KafkaException as error:
                if error.args[0].code() not in _HOPELESS:
                    raise ChannelError(str(error.args[0])) from error
                hopeless.append(event)
        self._producer.poll(0)
        return len(events), hopeless

    def close(self) -> None:
        """Let go of the producer; what is not sealed is not published."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None


class TransactionalChannel(_KafkaChannel):
    """Events and positions in one Kafka transaction."""

    def open(self) -> None:
        """Make a producer and end what a predecessor of the same transactional.id left open."""
        self.close()
        producer = self._make_producer()
        try:
            self._frames = self._prepare()
            producer.init_transactions(CALL_SECONDS)
        except (KafkaException, RegistryError) as error:
            raise ChannelError(str(error.args[0])) from error
        self._producer = producer

    def begin(self) -> None:
        """Begin a transaction."""
        if self._producer is None:
            raise ChannelError("the producer was lost")
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise ChannelError(str(error.args[0])) from error

    def seal(self, positions: Mapping[Partition, Position], group: object, commit: bool) -> Outcome:
        """Commit the transaction with the positions, or abort it; a producer in doubt is replaced."""
        started = time.monotonic()
        if not commit:
            return self._abort()
        try:
            if positions:
                offsets = topic_partitions(positions)
                self._insist(started, lambda: self._producer.send_offsets_to_transaction(offsets, group, CALL_SECONDS))
        except KafkaException as error:
            return self._abort() if error.args[0].txn_requires_abort() else self._replace(Outcome.ABORTED)
        try:
            retries = self._insist(started, lambda: self._producer.commit_transaction(CALL_SECONDS))
        except KafkaException as error:
            return self._abort() if error.args[0].txn_requires_abort() else self._replace(Outcome.UNCLEAR)
        if retries or time.monotonic() - started >= CALL_SECONDS:
            # A request that was sent twice may still arrive during the next transaction and end it half-way
            # (KAFKA-17754); it bounces off a new producer, whose epoch is higher.
            return self._replace(Outcome.COMMITTED)
        return Outcome.COMMITTED

    def committed(self, positions: Mapping[Partition, Position]) -> None:
        """The transaction has committed the offsets already."""

    def _insist(self, started: float, call: Callable[[], None]) -> int:
        """Make a call again as long as librdkafka says that it may be; return how often it was made again."""
        retries = 0
        while True:
            try:
                call()
                return retries
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() - started > SEAL_SECONDS:
                    raise
                retries += 1

    def _abort(self) -> Outcome:
        try:
            self._insist(time.monotonic(), lambda: self._producer.abort_transaction(CALL_SECONDS))
        except KafkaException:
            return self._replace(Outcome.ABORTED)
        return Outcome.ABORTED

    def _replace(self, outcome: Outcome) -> Outcome:
        """Replace the producer; when that fails, `begin` says so, and the publisher opens the channel again."""
        with suppress(ChannelError):
            self.open()
        return outcome


class IdempotentChannel(_KafkaChannel):
    """Events first, their positions once all of them are delivered."""

    def __init__(
        self,
        make_producer: Callable[[], Producer],
        prepare: Callable[[], Frames],
        store: Callable[[list[TopicPartition]], None],
    ) -> None:
        super().__init__(make_producer, prepare)
        self._store = store

    def open(self) -> None:
        """Make a producer."""
        self.close()
        producer = self._make_producer()
        try:
            self._frames = self._prepare()
        except (KafkaException, RegistryError) as error:
            raise ChannelError(str(error.args[0])) from error
        self._producer = producer

    def begin(self) -> None:
        """Make sure that there is a producer."""
        if self._producer is None:
            raise ChannelError("the producer was lost")

    def seal(self, positions: Mapping[Partition, Position], group: object, commit: bool) -> Outcome:
        """Wait until everything sent is delivered; anything that failed makes all of it be sent again."""
        deadline = time.monotonic() + SEAL_SECONDS
        while self._producer.flush(1.0):
            if time.monotonic() > deadline:
                self.close()
                return Outcome.ABORTED
        failed, self._producer.failed = self._producer.failed, 0
        return Outcome.ABORTED if failed or not commit else Outcome.COMMITTED

    def committed(self, positions: Mapping[Partition, Position]) -> None:
        """Store the offsets; the consumer commits what is stored."""
        self._store(topic_partitions(positions))


class NullChannel:
    """Publishes nothing; the positions are stored as if it had."""

    def __init__(self, store: Callable[[list[TopicPartition]], None]) -> None:
        self._store = store

    def open(self) -> None:
        """Nothing to open."""

    def begin(self) -> None:
        """Nothing to begin."""

    def send(self, events: list[Event], start: int) -> tuple[int, list[Event]]:
        """Take everything."""
        return len(events), []

    def seal(self, positions: Mapping[Partition, Position], group: object, commit: bool) -> Outcome:
        """Nothing can fail."""
        return Outcome.COMMITTED if commit else Outcome.ABORTED

    def committed(self, positions: Mapping[Partition, Position]) -> None:
        """Store the offsets; the consumer commits what is stored."""
        self._store(topic_partitions(positions))

    def close(self) -> None:
        """Nothing to close."""


class CountingProducer(Producer):
    """A producer that counts the events it could not deliver; `delivery.report.only.error` keeps that cheap."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self.failed = 0
        super().__init__({**properties, "delivery.report.only.error": True, "on_delivery": self._not_delivered})

    def _not_delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self.failed += 1
