"""What the channels to Kafka have in common: a producer that can be replaced, sending into it, and blame for errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from exporter.events.factory import Event
from exporter.kafka.positions import Position
from exporter.model import EventType, Partition, RegistryError, RegistryRefused
from exporter.publishing.channels.channel import Cause, ChannelError, CommitResult, CommitState
from exporter.runtime import logs
from exporter.runtime.foreign_text import printable

log = logs.logger("sending")

# A seal that could not end in so long gets a new producer, which ends it one way or the other.
SEAL_SECONDS = 60.0
# The broker refuses batches of events as a whole. For a while after that each event is a batch of its own.
CAREFUL_SECONDS = 300.0
CAREFUL = {"batch.num.messages": 1}
LOOK_SECONDS = 0.1

Frames = Mapping[EventType, bytes]
_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE)
_FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
_DENIED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)
_CAUSES = {
    code: cause
    for cause, codes in ((Cause.TOO_LARGE, _TOO_LARGE), (Cause.FENCED, _FENCED), (Cause.DENIED, _DENIED))
    for code in codes
}

# Kafka calls it a concurrent operation. The end of a transaction is written where its events are.
UNENDED = "the brokers have not ended our last transaction: perhaps too few replicas of the event topic are in sync"


def topic_partitions(positions: Mapping[Partition, Position]) -> list[TopicPartition]:
    """Return the positions as confluent-kafka wants them: the offset, and what a successor needs as metadata."""
    return [TopicPartition(*partition, position.offset, position.metadata) for partition, position in positions.items()]


def channel_error(error: KafkaException) -> ChannelError:
    kafka: KafkaError = error.args[0]
    trouble = UNENDED if kafka.code() == KafkaError.CONCURRENT_TRANSACTIONS else printable(kafka.str())
    return ChannelError(trouble, _CAUSES.get(kafka.code(), Cause.NOT_OPEN))


class KafkaChannel:
    """What both channels to Kafka share: a producer that is made by `open`, and sending into it.

    `make_producer` takes properties as keywords that stand above the configured ones.
    """

    def __init__(self, make_producer: Callable[..., Producer], prepare: Callable[[], Frames]) -> None:
        self.alive_at = 0.0
        self._make_producer = make_producer
        self._prepare = prepare
        self._frames: Frames = {}
        self._producer: Any = None
        self._careful_until = 0.0
        self._is_careful = False
        self._refused: list[Event] = []
        self._undelivered: KafkaError | None = None

    def open(self) -> None:
        """Make a producer; see Channel."""
        self.close()
        self._is_careful = time.monotonic() < self._careful_until
        producer = self._make_producer(**(CAREFUL if self._is_careful else {}))
        try:
            self.alive_at = time.monotonic()
            self._frames = self._prepare()
            self.alive_at = time.monotonic()
            self._introduce(producer)
        except KafkaException as error:
            raise channel_error(error) from error
        except RegistryRefused as error:
            raise ChannelError(str(error), Cause.DENIED) from error
        except RegistryError as error:
            raise ChannelError(str(error)) from error
        self._producer = producer

    def send(self, events: list[Event], start: int) -> tuple[int, list[Event]]:
        """Send events from index `start` on; return how far it came, and those that can never be sent."""
        produce, frames = self._producer.produce, self._frames
        hopeless: list[Event] = []
        for index in range(start, len(events)):
            event = events[index]
            told = {"on_delivery": partial(self._delivered, event)} if self._is_careful else {}
            try:
                produce(event.topic, frames[event.type] + event.body, event.key, headers=event.headers, **told)
            except BufferError:
                self._producer.poll(0)
                return index, hopeless
            except KafkaException as error:
                if error.args[0].code() not in _TOO_LARGE:
                    raise self._lost(error) from error
                hopeless.append(event)
        self._producer.poll(0)
        return len(events), hopeless

    def close(self) -> None:
        """Let go of the producer; what is not sealed is not published."""
        self._refused, self._undelivered = [], None
        if self._producer is not None:
            self._producer.purge()
            self._producer = None

    def _introduce(self, producer: Any) -> None:
        """Make a new producer known to the broker, if it has to be."""

    def _lost(self, error: KafkaException) -> ChannelError:
        """Return what an error says that ends the producer."""
        return channel_error(error)

    def _delivered(self, event: Event, error: KafkaError | None, _message: object) -> None:
        if error is None:
            return
        self._undelivered = error
        if error.code() in _TOO_LARGE:
            self._refused.append(event)

    def _failure(self, error: KafkaError) -> CommitResult:
        """Return what an error means for what was sent; from a refusal on, each event is a batch of its own."""
        cause = _CAUSES.get(error.code(), Cause.ABORTED)
        if cause is Cause.TOO_LARGE:
            self._careful_until = time.monotonic() + CAREFUL_SECONDS
        return CommitResult(CommitState.ABORTED, cause, printable(error.str()))

    def _take_refused(self) -> tuple[Event, ...]:
        """Return the events that the broker refused by themselves, since the last call."""
        refused, self._refused = tuple(self._refused), []
        return refused

    def _flush(self, deadline: float) -> bool:
        """Wait until everything is delivered; return false at the deadline, or when an event was refused."""
        while self._producer.flush(LOOK_SECONDS):
            self.alive_at = time.monotonic()
            if self._refused or self.alive_at > deadline:
                return False
        return True

    def _is_outdated(self) -> bool:
        """Return whether the producer does not batch as it should by now."""
        return self._is_careful != (time.monotonic() < self._careful_until)

    def _renew(self) -> None:
        """Replace the producer; when that fails, `begin` says so, and the publisher opens the channel again."""
        try:
            self.open()
        except ChannelError as error:
            log.info("no new producer yet", extra={"error": str(error)})
