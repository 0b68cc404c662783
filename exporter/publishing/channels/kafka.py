"""The common part of the channels to Kafka: a replaceable producer, sending, and the cause of each error."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from exporter.events.factory import Event
from exporter.events.framing import FrameByType
from exporter.kafka.positions import Position
from exporter.model import Partition, RegistryError, RegistryRefused
from exporter.publishing.channels import Cause, ChannelError, CommitResult, CommitState
from exporter.runtime import logs
from exporter.runtime.foreign_text import printable

log = logs.logger("sending")

# After this time a commit is abandoned, and a new producer ends the transaction one way or the other.
COMMIT_SECONDS = 60.0
# The broker refuses a batch as a whole. Afterwards each event is a batch of its own for a while, to find the large one.
UNBATCHED_SECONDS = 300.0
UNBATCHED = {"batch.num.messages": 1}
POLL_SECONDS = 0.1

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

# Kafka reports a concurrent transaction. The end of a transaction is written to the partitions of its events.
UNENDED = "the brokers have not ended the last transaction: perhaps too few replicas of the event topic are in sync"


def topic_partitions(positions: Mapping[Partition, Position]) -> list[TopicPartition]:
    """Return the positions as confluent-kafka takes them: the offset, and as metadata what the next owner needs."""
    return [TopicPartition(*partition, position.offset, position.metadata) for partition, position in positions.items()]


def channel_error(error: KafkaException) -> ChannelError:
    """Return an error of Kafka as one of the channel, with its cause."""
    kafka: KafkaError = error.args[0]
    text = UNENDED if kafka.code() == KafkaError.CONCURRENT_TRANSACTIONS else printable(kafka.str())
    return ChannelError(text, _CAUSES.get(kafka.code(), Cause.NOT_OPEN))


class KafkaChannel:
    """The common part of both channels to Kafka: a producer that `open` creates, and sending.

    `make_producer` takes keywords that override configured properties. `is_superseded` returns whether its last
    producer may not be able to log in any more, and the next one can.
    """

    def __init__(
        self,
        make_producer: Callable[..., Producer],
        prepare: Callable[[], FrameByType],
        is_superseded: Callable[[], bool] = lambda: False,
    ) -> None:
        self.alive_at = 0.0
        self._is_superseded = is_superseded
        self._make_producer = make_producer
        self._prepare = prepare
        self._frames: FrameByType = {}
        self._producer: Any = None
        self._unbatched_until = 0.0
        self._is_unbatched = False
        self._unsendable: list[Event] = []
        self._undelivered: KafkaError | None = None

    def open(self) -> None:
        """Create a producer; see Channel."""
        self.close()
        self._is_unbatched = time.monotonic() < self._unbatched_until
        try:
            producer = self._make_producer(**(UNBATCHED if self._is_unbatched else {}))
            self.alive_at = time.monotonic()
            self._frames = self._prepare()
            self.alive_at = time.monotonic()
            self._initialize(producer)
        except KafkaException as error:
            raise channel_error(error) from error
        except RegistryRefused as error:
            raise ChannelError(str(error), Cause.DENIED) from error
        except RegistryError as error:
            raise ChannelError(str(error)) from error
        self._producer = producer

    def begin(self) -> None:
        """Raise `ChannelError` when there is no producer."""
        if self._producer is None:
            raise ChannelError("the producer was lost")

    def send(self, events: list[Event], start: int) -> tuple[int, list[Event]]:
        """See Channel."""
        produce, frames = self._producer.produce, self._frames
        unsendable: list[Event] = []
        for index in range(start, len(events)):
            event = events[index]
            value = frames[event.type] + event.body
            try:
                if self._is_unbatched:
                    report = partial(self._on_delivery, event)
                    produce(event.topic, value, event.key, headers=event.headers, on_delivery=report)
                else:
                    produce(event.topic, value, event.key, headers=event.headers)
            except BufferError:
                self._producer.poll(0)
                return index, unsendable
            except KafkaException as error:
                if error.args[0].code() not in _TOO_LARGE:
                    raise self._fatal(error) from error
                unsendable.append(event)
        self._producer.poll(0)
        return len(events), unsendable

    def close(self) -> None:
        """Release the producer; what is not committed is not published."""
        self._unsendable, self._undelivered = [], None
        if self._producer is not None:
            self._producer.purge()
            self._producer = None

    def _initialize(self, producer: Any) -> None:
        """Register a new producer with the broker, if necessary."""

    def _fatal(self, error: KafkaException) -> ChannelError:
        """Return the error of the channel for one that makes the producer unusable."""
        return channel_error(error)

    def _on_delivery(self, event: Event, error: KafkaError | None, _message: object) -> None:
        if error is None:
            return
        self._undelivered = error
        if error.code() in _TOO_LARGE:
            self._unsendable.append(event)

    def _failure(self, error: KafkaError) -> CommitResult:
        """Return an error as a result; after events that are too large, each event becomes a batch of its own."""
        cause = _CAUSES.get(error.code(), Cause.ABORTED)
        if cause is Cause.TOO_LARGE:
            self._unbatched_until = time.monotonic() + UNBATCHED_SECONDS
        return CommitResult(CommitState.ABORTED, cause, printable(error.str()))

    def _take_unsendable(self) -> tuple[Event, ...]:
        """Return the events that the broker has refused since the last call, each in a batch of its own."""
        unsendable, self._unsendable = tuple(self._unsendable), []
        return unsendable

    def _flush(self, deadline: float) -> bool:
        """Wait until all events are delivered; return false at the deadline, or when an event was refused."""
        while self._producer.flush(POLL_SECONDS):
            self.alive_at = time.monotonic()
            if self._unsendable or self.alive_at > deadline or self._is_superseded():
                return False
        return True

    def _is_outdated(self) -> bool:
        """Return whether the producer batches and should not, or the reverse, or cannot log in any more."""
        return self._is_unbatched != (time.monotonic() < self._unbatched_until) or self._is_superseded()

    def _replace_producer(self) -> None:
        """Replace the producer; if that fails, `begin` raises, and the publisher opens the channel again."""
        try:
            self.open()
        except ChannelError as error:
            log.info("producer could not be replaced, retrying", extra={"error": str(error)})
