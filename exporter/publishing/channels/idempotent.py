"""Events at least once: an idempotent producer, and offsets committed once their events are acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, Producer, TopicPartition

from exporter.events.framing import FrameByType
from exporter.kafka.positions import Position
from exporter.model import Partition
from exporter.publishing.channels import Cause, CommitResult, CommitState
from exporter.publishing.channels.kafka import COMMIT_SECONDS, KafkaChannel, topic_partitions


class IdempotentChannel(KafkaChannel):
    """A channel that commits positions once all their events are delivered."""

    def __init__(
        self,
        make_producer: Callable[..., ErrorKeepingProducer],
        prepare: Callable[[], FrameByType],
        store: Callable[[list[TopicPartition]], None],
        is_superseded: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(make_producer, prepare, is_superseded)
        self._store = store

    def commit(self, positions: Mapping[Partition, Position], group: object) -> CommitResult:
        """Wait until all events are delivered; after any failure all of them are sent again."""
        return self._delivery(CommitResult.COMMITTED)

    def abort(self) -> CommitResult:
        """Wait for the events, which cannot be taken back; their positions are not committed."""
        return self._delivery(CommitResult.ABORTED)

    def _delivery(self, success: CommitResult) -> CommitResult:
        is_delivered = self._flush(time.monotonic() + COMMIT_SECONDS)
        error = self._producer.last_error or self._undelivered
        self._producer.last_error = self._undelivered = None
        result = success if is_delivered else CommitResult.ABORTED
        if error is not None:
            result = self._failure(error)
        if self._unsendable:
            result = CommitResult(CommitState.ABORTED, Cause.TOO_LARGE, "events are too large", self._take_unsendable())
        if self._is_outdated() or not is_delivered:
            self._replace_producer()
        return result

    def store_offsets(self, positions: Mapping[Partition, Position]) -> None:
        """Store the offsets; the consumer commits what is stored."""
        self._store(topic_partitions(positions))


class ErrorKeepingProducer(Producer):
    """A producer that keeps the last error of an event that it could not deliver."""

    def __init__(self, properties: Mapping[str, Any], **more: Any) -> None:
        self.last_error: KafkaError | None = None
        super().__init__({**properties, **more, "delivery.report.only.error": True, "on_delivery": self._on_delivery})

    def _on_delivery(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self.last_error = error
