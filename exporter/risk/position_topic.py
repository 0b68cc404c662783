"""Portfolios from a compacted topic of Kafka."""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from exporter.config.schema import Config
from exporter.kafka import clients
from exporter.kafka.credentials import KafkaLogin
from exporter.model import RegistryError
from exporter.risk.portfolios import Portfolio
from exporter.risk.position_file import PositionsError
from exporter.risk.position_records import PositionRecords
from exporter.runtime.foreign_text import printable

ANSWER_SECONDS = 5.0
# For what one evaluation waits until the topic is read to its present end.
READ_SECONDS = 5.0
MESSAGES_MAX = 500
QUIET_SECONDS = 0.05
# How soon partitions that are added to the topic are read.
PARTITIONS_SECONDS = 60.0
# After a schema registry that did not answer.
RETRY_SECONDS = 0.5


class PositionTopic:
    """The topic of positions, read from its beginning and then as it grows; owned by one thread.

    It belongs to no group and commits nothing. The client is replaced when `login` changes.
    """

    def __init__(self, config: Config, login: KafkaLogin | None = None) -> None:
        self._config = config
        self._make_consumer = (login or KafkaLogin(config)).maker("consumer", config, _consumer)
        self._topic = config.risk.positions.topic or ""
        self._consumer: Any = None
        self._partitions: set[int] = set()
        self._unread: set[int] = set()
        self._look_at = 0.0
        self._is_complete = False
        self._records = PositionRecords(self._find if config.output.schema_registry else None)
        self._schemas: Any = None
        self._ask_at, self._registry_error = 0.0, ""

    def read(self) -> list[Portfolio] | None:
        """See Positions; also raises while the topic was not yet read to its end."""
        try:
            has_changed = self._poll() | self._records.retry()
        except KafkaException as error:
            self.close()
            raise PositionsError(f"{self._topic}: {printable(error.args[0].str())}") from error
        if not self._is_complete and self._unread:
            raise PositionsError(f"{self._topic}: it is not read to its end yet")
        is_first, self._is_complete = not self._is_complete, True
        try:
            found = self._records.portfolios()
            return found if has_changed or is_first else None
        except PositionsError as error:
            raise PositionsError(f"{self._topic}: {error}") from error

    def close(self) -> None:
        """Close the client; the next `read` begins again."""
        if self._consumer is not None:
            self._consumer.close()
        self._consumer, self._is_complete = None, False

    def _poll(self) -> bool:
        """Take the records that have arrived, at the beginning up to the end; return whether there were any."""
        if self._make_consumer.is_outdated() or (self._consumer is not None and self._has_grown()):
            self.close()
        if self._consumer is None:
            self._open()
        count, deadline = 0, time.monotonic() + READ_SECONDS
        while time.monotonic() < deadline:
            messages = self._consumer.consume(MESSAGES_MAX, QUIET_SECONDS)
            for message in messages:
                error = message.error()
                if error is None:
                    self._records.add(message.key(), message.value())
                    count += 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._unread.discard(message.partition())
                elif not error.retriable():
                    raise KafkaException(error)
            if not messages and not self._unread:
                break
        return count > 0

    def _open(self) -> None:
        consumer: Any = self._make_consumer()
        self._consumer = consumer
        found = consumer.list_topics(self._topic, timeout=ANSWER_SECONDS).topics[self._topic]
        if found.error is not None:
            raise KafkaException(found.error)
        self._partitions, self._unread = set(found.partitions), set(found.partitions)
        self._look_at = time.monotonic() + PARTITIONS_SECONDS
        self._records = PositionRecords(self._find if self._config.output.schema_registry else None)
        consumer.assign([TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in self._unread])

    def _has_grown(self) -> bool:
        """Return whether the topic has other partitions than are read, or the client may have lost the brokers.

        Asks Kafka once in a while.
        """
        if time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + PARTITIONS_SECONDS
        try:
            found = self._consumer.list_topics(self._topic, timeout=ANSWER_SECONDS).topics[self._topic]
        except KafkaException:
            return True  # perhaps for good, see `kafka.lifeline`
        return found.error is None and set(found.partitions) != self._partitions

    def _find(self, number: int) -> Any:
        """Return a schema of the registry; raise `Rejected`, or `RegistryError` when it does not answer."""
        if time.monotonic() < self._ask_at:  # many records may wait for one answer
            raise RegistryError(self._registry_error)
        try:
            return self._find_schema(number)
        except RegistryError as error:
            self._registry_error, self._ask_at = str(error), time.monotonic() + RETRY_SECONDS
            raise

    def _find_schema(self, number: int) -> Any:
        if self._schemas is None:
            # Imported at the first use: the client of the registry takes 6 MB.
            from functools import partial

            from exporter.events.registry_http import RegistryHttp
            from exporter.events.writer_schemas import WriterSchemas, fetch
            from exporter.runtime.worker import ThreadWorker

            http = RegistryHttp(self._config.output)
            self._schemas = WriterSchemas(partial(fetch, http), ThreadWorker("risk-schemas"))
        return self._schemas.require(number)


def _consumer(config: Config) -> Consumer:
    properties = {
        **clients.consumer_properties(config),
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
    }
    # The errors of its connections are those of the sidecar's other clients, which report them.
    return Consumer({**properties, "error_cb": lambda _: None, "logger": clients.log})
