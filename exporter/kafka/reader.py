"""Reads ranges of topics without side effects: no group membership, no commit, nothing produced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka import admin as kafka_admin

from exporter.config.schema import Config
from exporter.config.subscription import Subscription
from exporter.kafka.clients import PROBER
from exporter.kafka.connection_errors import ConnectionFaults
from exporter.kafka.gap_search import Prober, is_unreadable
from exporter.kafka.msk import login
from exporter.kafka.positions import Span
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
# For the first answer: what does not listen is named soon, however long later answers may take.
CONNECT_SECONDS = 10.0
# The client retries these.
_RETRIED = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)


def reader_properties(config: Config) -> dict[str, Any]:
    """Return the properties with which a `TopicReader` reads the input of a sidecar."""
    users = {**config.kafka.properties, **config.kafka.consumer_properties}
    return {"bootstrap.servers": config.kafka.bootstrap_servers, **login(config), **users}


def _close(clients: list[Any]) -> None:
    """Close a consumer and an admin client, which does not return while a broker sends an endless answer."""
    clients[0].close()
    clients.clear()


class TopicReader:
    """Reader of one cluster with `timeout_seconds` for each answer. All methods raise KafkaException.

    `gaps` are the unreadable records that `read` has skipped.
    """

    def __init__(self, kafka: Mapping[str, Any], group: str, timeout_seconds: float) -> None:
        self._timeout = timeout_seconds
        self._explain = ConnectionFaults(kafka["bootstrap.servers"], kafka).explain
        self._last_fault = ""  # why the last connection failed
        # Without this the clients print about an unreachable broker; its error is raised instead.
        quiet: dict[str, Any] = {
            "log_level": 6,
            "logger": self,
            "log.connection.close": True,
            "error_cb": self._on_error,
        }
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
        """Return the partitions of the existing topics that the subscription covers."""
        topics = self._topics()
        names = subscription.among(topics)
        return [Partition(name, number) for name in names for number in sorted(topics[name].partitions)]

    def first(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the first offset of each partition."""
        return self._all(partitions, _OffsetSpec.earliest())

    def stable(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the offset up to which no transaction is open (the last stable offset)."""
        return self._all(partitions, _OffsetSpec.latest())

    def written(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the offset after the last record, uncommitted ones included (the high watermark)."""
        return self._all(partitions, _OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)

    def since(self, partitions: Sequence[Partition], timestamp_ms: int) -> dict[Partition, int]:
        """Return the first offset with this timestamp or a later one; partitions without one are absent."""
        return self._listed(partitions, _OffsetSpec.for_timestamp(timestamp_ms))

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the committed offsets of the group; partitions without one are absent."""
        asked = [TopicPartition(*partition) for partition in partitions]
        found: dict[Partition, int] = {}
        for position in self._consumer.committed(asked, timeout=self._timeout):
            if position.error is not None:
                raise KafkaException(position.error)
            if position.offset >= 0:
                found[Partition(position.topic, position.partition)] = position.offset
        return found

    def pause(self, partition: Partition) -> None:
        """Let `read` yield no further records of a partition until `resume`."""
        self._consumer.pause([TopicPartition(*partition)])

    def resume(self, partition: Partition) -> None:
        """Let `read` continue with a partition where it was paused."""
        self._consumer.resume([TopicPartition(*partition)])

    def read(
        self, spans: Mapping[Partition, Span], ended: Callable[[Partition], None] = lambda partition: None
    ) -> Iterator[Message]:
        """Yield the committed records of the spans in order of each partition; waits for open transactions.

        `ended` is called once a partition has no further record in its span, with the next step at the latest.
        """
        unread = {partition: span.end for partition, span in spans.items() if span.start < span.end}
        self._consumer.assign([TopicPartition(*partition, spans[partition].start) for partition in unread])
        while unread:
            message = self._next(unread)
            partition = Partition(message.topic() or "", message.partition() or 0)
            end, offset = unread.get(partition, 0), message.offset() or 0
            if is_unreadable(message):
                offset = self._skip(partition, Span(max(offset, spans[partition].start), end, end), message)
            is_record = message.error() is None
            if is_record and offset < end:
                yield message
            # An end-of-partition message has the next offset; an open transaction may begin before the end of the span.
            if offset + is_record >= end and unread.pop(partition, None) is not None:
                self.pause(partition)
                ended(partition)

    def _skip(self, partition: Partition, span: Span, message: Message) -> int:
        """Skip the unreadable records at the start of a span, and return the offset after them."""
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
            topics: Mapping[str, Any] = self._consumer.list_topics(timeout=min(self._timeout, CONNECT_SECONDS)).topics
            return topics
        except KafkaException as error:
            raise self._because(error.args[0]) from error

    def _because(self, error: KafkaError) -> KafkaException:
        """Return the error; if no broker sent it, the reason why the last connection failed, if known."""
        for client in (self._admin, self._consumer):
            client.poll(0)  # calls _on_error
        text = self._last_fault if self._last_fault and error.code() < 0 else printable(error.str())
        return KafkaException(KafkaError(error.code(), text))

    def _on_error(self, error: KafkaError) -> None:
        if fault := self._explain(error.str()):
            self._last_fault = str(fault)

    def log(self, level: int, form: str, kind: str, client: str, text: str) -> None:
        """Take a line of a client's log, as loggers do: only a line shows that a broker expects another protocol."""
        fault = self._explain(f"FAIL [{client}] {text}") if kind == "FAIL" and "APIVERSION_QUERY" in text else None
        if fault is not None:
            self._last_fault = str(fault)

    def _next(self, unread: Iterable[Partition]) -> Message:
        """Return the next record, end of a partition, or unreadable record."""
        while (message := self._consumer.poll(self._timeout)) is not None:
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF or is_unreadable(message):
                return message
            if error.code() not in _RETRIED:
                raise KafkaException(error)
        names = ", ".join(map(str, unread))
        why = f"no record for {self._timeout:g} s from {names}: no answer, or a transaction is open"
        raise self._because(KafkaError(KafkaError._TIMED_OUT, why))

    def _all(
        self,
        partitions: Sequence[Partition],
        spec: Any,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[Partition, int]:
        found = self._listed(partitions, spec, isolation)
        if missing := [str(partition) for partition in partitions if partition not in found]:
            # When the leader of the partition is unreachable.
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
