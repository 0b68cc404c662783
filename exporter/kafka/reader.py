"""Reads spans of topics without leaving a trace: no membership in a group, no commit, nothing produced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka import admin as kafka_admin

from exporter.config.subscription import Subscription
from exporter.kafka.clients import PROBER
from exporter.kafka.connection_errors import Unreachable
from exporter.kafka.positions import Span
from exporter.kafka.probe import Prober, is_of_a_place
from exporter.kafka.unreadable import LEAST_TRIES, Gap
from exporter.model import Partition
from exporter.runtime.foreign_text import printable
from exporter.runtime.worker import in_thread

# The library's types leave it out.
_OffsetSpec: Any = kafka_admin.OffsetSpec  # type: ignore[attr-defined]

_READER = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
}
# The client tries again by itself.
_PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)


def _close(clients: list[Any]) -> None:
    """Let go of a consumer and an admin client, which takes for ever while a broker answers without end."""
    clients[0].close()
    clients.clear()


class TopicReader:
    """Asks one cluster; every answer has to come within `timeout_seconds`. All methods raise KafkaException.

    `gaps` are the records that `read` has stepped over because they cannot be read.
    """

    def __init__(self, kafka: Mapping[str, Any], group: str, timeout_seconds: float) -> None:
        self._timeout = timeout_seconds
        self._explained = Unreachable(kafka["bootstrap.servers"], kafka).explained
        self._last_fault = ""  # why the last connection failed
        # The clients would print what they think of an unreachable broker; what matters of it is raised.
        quiet: dict[str, Any] = {"log_level": 0, "error_cb": self._hear}
        self.gaps: list[tuple[Partition, Gap]] = []
        self._admin = kafka_admin.AdminClient({**kafka, **quiet})
        self._properties = {**kafka, **_READER, **quiet, "group.id": group}
        self._consumer = Consumer(self._properties)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        clients: list[Any] = [self._consumer, self._admin]
        del self._consumer, self._admin
        in_thread(partial(_close, clients)).wait(self._timeout)

    def partitions(self, subscription: Subscription) -> list[Partition]:
        """Return the partitions of the topics that are meant and exist."""
        topics = self._topics()
        names = subscription.among(topics)
        return [Partition(name, number) for name in names for number in sorted(topics[name].partitions)]

    def first(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the first offset that is still there."""
        return self._all(partitions, _OffsetSpec.earliest())

    def stable(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the offset before which everything can be read: nothing of it belongs to an open transaction."""
        return self._all(partitions, _OffsetSpec.latest())

    def written(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the offset after the last record, committed or not."""
        return self._all(partitions, _OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)

    def since(self, partitions: Sequence[Partition], timestamp_ms: int) -> dict[Partition, int]:
        """Return the first offset with this timestamp or a later one; a partition without such a record is left out."""
        return self._listed(partitions, _OffsetSpec.for_timestamp(timestamp_ms))

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return what the group has committed, where it has."""
        asked = [TopicPartition(*partition) for partition in partitions]
        found: dict[Partition, int] = {}
        for position in self._consumer.committed(asked, timeout=self._timeout):
            if position.error is not None:
                raise KafkaException(position.error)
            if position.offset >= 0:
                found[Partition(position.topic, position.partition)] = position.offset
        return found

    def read(self, spans: Mapping[Partition, Span]) -> Iterator[Message]:
        """Yield the committed records of the spans, each partition in its order; waits for transactions to end."""
        unread = {partition: span.end for partition, span in spans.items() if span.start < span.end}
        self._consumer.assign([TopicPartition(*partition, spans[partition].start) for partition in unread])
        while unread:
            message = self._next(unread)
            partition = Partition(message.topic() or "", message.partition() or 0)
            end, offset = unread.get(partition, 0), message.offset() or 0
            if is_of_a_place(message):
                offset = self._step_over(partition, Span(max(offset, spans[partition].start), end, end), message)
            is_record = message.error() is None
            if is_record and offset < end:
                yield message
            # The news that there is no more names the next offset; an open transaction can lie before our end.
            if offset + is_record >= end:
                unread.pop(partition, None)
                self._consumer.pause([TopicPartition(*partition)])

    def _step_over(self, partition: Partition, span: Span, message: Message) -> int:
        """Go on behind what cannot be read at the start of a span, and return the offset of what follows."""
        prober = Consumer({**self._properties, **PROBER})
        try:
            for _ in range(LEAST_TRIES):
                if (gap := Prober(prober, partition).gap(span.start)) is not None:
                    break
            else:
                raise KafkaException(message.error())
        except TimeoutError as error:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, str(error))) from error
        finally:
            prober.close()
        self.gaps.append((partition, Gap(gap.first, min(gap.end, span.end))))
        self._consumer.seek(TopicPartition(*partition, gap.end))
        return gap.end

    def _topics(self) -> Mapping[str, Any]:
        try:
            topics: Mapping[str, Any] = self._consumer.list_topics(timeout=self._timeout).topics
            return topics
        except KafkaException as error:
            raise self._because(error.args[0]) from error

    def _because(self, error: KafkaError) -> KafkaException:
        """Return an error, and of those that no broker sent why the last connection failed, if one did."""
        for client in (self._admin, self._consumer):
            client.poll(0)  # only now they tell why
        text = self._last_fault if self._last_fault and error.code() < 0 else printable(error.str())
        return KafkaException(KafkaError(error.code(), text))

    def _hear(self, error: KafkaError) -> None:
        if fault := self._explained(error.str()):
            self._last_fault = str(fault)
        elif error.code() == KafkaError._AUTHENTICATION:  # there is no token to connect with
            self._last_fault = printable(error.str())

    def _next(self, unread: Iterable[Partition]) -> Message:
        """Return the next record, or the news that a partition has been read to its end."""
        while (message := self._consumer.poll(self._timeout)) is not None:
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF or is_of_a_place(message):
                return message
            if error.code() not in _PASSING:
                raise KafkaException(error)
        names = ", ".join(map(str, unread))
        why = f"nothing came for {self._timeout:g} s from {names}: no answer, or a transaction is open"
        raise self._because(KafkaError(KafkaError._TIMED_OUT, why))

    def _all(
        self,
        partitions: Sequence[Partition],
        spec: Any,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[Partition, int]:
        found = self._listed(partitions, spec, isolation)
        if missing := [str(partition) for partition in partitions if partition not in found]:
            # So it is when the broker that leads them cannot be reached.
            raise self._because(KafkaError(KafkaError._TIMED_OUT, f"no offsets of {', '.join(missing)}"))
        return found

    def _listed(
        self,
        partitions: Sequence[Partition],
        spec: Any,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[Partition, int]:
        asked = {TopicPartition(*partition): spec for partition in partitions}
        answers = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=self._timeout)
        found: dict[Partition, int] = {}
        try:
            for position, answer in answers.items():
                if (offset := answer.result().offset) >= 0:
                    found[Partition(position.topic, position.partition)] = offset
        except KafkaException as error:
            raise self._because(error.args[0]) from error
        return found
