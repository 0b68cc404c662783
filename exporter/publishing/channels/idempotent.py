"""Events at least once: an idempotent producer, and offsets committed once their events are acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, Producer, TopicPartition

from exporter.kafka.positions import Position
from exporter.model import Partition
from exporter.publishing.channels.channel import Cause, ChannelError, CommitResult, CommitState
from exporter.publishing.channels.kafka import (
    SEAL_SECONDS,
    Frames,
    KafkaChannel,
    topic_partitions,
)


class IdempotentChannel(KafkaChannel):
    """Events first, their positions once all of them are delivered."""

    def __init__(
        self,
        make_producer: Callable[..., CountingProducer],
        prepare: Callable[[], Frames],
        store: Callable[[list[TopicPartition]], None],
    ) -> None:
        super().__init__(make_producer, prepare)
        self._store = store

    def begin(self) -> None:
        """Make sure that there is a producer."""
        if self._producer is None:
            raise ChannelError("the producer was lost")

    def seal(self, positions: Mapping[Partition, Position], group: object, commit: bool) -> CommitResult:
        """Wait until everything sent is delivered; anything that failed makes all of it be sent again."""
        delivered = self._flush(time.monotonic() + SEAL_SECONDS)
        failure = self._producer.failure or self._undelivered
        self._producer.failure = self._undelivered = None
        outcome = CommitResult.COMMITTED if delivered and commit else CommitResult.ABORTED
        if failure is not None:
            outcome = self._failure(failure)
        if self._refused:
            outcome = CommitResult(CommitState.ABORTED, Cause.TOO_LARGE, "events are too large", self._take_refused())
        if self._is_outdated() or not delivered:
            self._renew()
        return outcome

    def committed(self, positions: Mapping[Partition, Position]) -> None:
        """Store the offsets; the consumer commits what is stored."""
        self._store(topic_partitions(positions))


class CountingProducer(Producer):
    """A producer that keeps the last error of an event that it could not deliver."""

    def __init__(self, properties: Mapping[str, Any], **more: Any) -> None:
        self.failure: KafkaError | None = None
        super().__init__({**properties, **more, "delivery.report.only.error": True, "on_delivery": self._not_delivered})

    def _not_delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self.failure = error
