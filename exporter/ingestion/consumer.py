"""Handles the events of ingesting services: in order, at least once each, and what cannot be handled is set aside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from exporter.ingestion.events import EVENTS
from exporter.ingestion.handling import Handler, Handling, Retries, check_handler
from exporter.ingestion.lanes import Lane
from exporter.ingestion.reading import PartitionProgress, Reader
from exporter.ingestion.settings import SERVERS, settings, settings_of_group
from exporter.kafka import clients
from exporter.kafka.session import KafkaSession
from exporter.model import Partition


class ConsumerStatistics(NamedTuple):
    """The state of a consumer.

    `is_member`: it has joined its group; `idle_seconds`: the time since the last turn of its reading thread;
    `partitions`: those assigned to it; `dead_letters`: the number of events set aside, by topic and reason.
    """

    is_member: bool = False
    idle_seconds: float = 0.0
    partitions: tuple[PartitionProgress, ...] = ()
    dead_letters: Mapping[tuple[str, str], int] = {}


class MessageConsumer:
    """Consumer of topics of events, a member of a consumer group.

    - `topics`: names of events, such as `exchange_rate_updated`; `prefix` is the text before them in Kafka.
    - `group`: members of one group share the partitions. A new group begins with the oldest events.
    - `max_retries`: how often a handler that raised is called again, after `retry_delay` seconds that double each time
      up to 30; the events behind it in the partition wait. Then the event goes to `<topic>.dead_letter`; what is no
      event of its topic goes there at once.
    - `config`: other settings, by the keys of the YAML file, such as `kafka.properties`; overrides the arguments. With
      `output.schema_registry` events in Confluent's wire format are read, too; they wait while it does not answer. Or
      the session of a program with further clients.

    Events of a partition are handled in order, partitions side by side. The offset of an event is committed after its
    handler has returned, or its dead letter was acknowledged: after a crash an event may be handled again, and none is
    skipped. Raises `ConfigError` when an argument is wrong, `ValueError` for a topic without an event.
    """

    def __init__(
        self,
        topics: Sequence[str],
        group: str,
        *,
        bootstrap_servers: str = SERVERS,
        prefix: str = "",
        max_retries: int = 3,
        retry_delay: float = 0.5,
        config: Mapping[str, object] | KafkaSession | None = None,
    ) -> None:
        if isinstance(topics, str) or not topics or not set(topics) <= EVENTS.keys():
            raise ValueError(f"got topics {topics!r}, expected a list of {', '.join(EVENTS)}")
        _check(group, max_retries, retry_delay)
        if isinstance(config, KafkaSession):
            self._session = config
        else:
            arguments = {"kafka.bootstrap_servers": bootstrap_servers, "input.group": group}
            load = partial(settings, arguments, config, prefix)
            self._session = KafkaSession(load(), load)
        self._config = settings_of_group(self._session.config, group)
        self._topics = {prefix + topic: topic for topic in topics}
        self._retries = Retries(max_retries, retry_delay)
        self._handling: Handling | None = None
        self._reader: Reader | None = None
        self._is_stopped = False
        self._failure: BaseException | None = None

    async def initialize(self) -> None:
        """Make the client. An unreachable broker is no error here: `consume_messages` waits for it.

        Raises KafkaException for a property that librdkafka refuses.
        """
        if self._reader is None:
            make_consumer = self._session.login.maker("consumer", self._config, clients.event_consumer)
            loop = asyncio.get_running_loop()
            self._reader = Reader(make_consumer, list(self._topics), self._lane, loop, self._session)

    async def consume_messages(self, handlers: Handler | Mapping[str, Handler]) -> None:
        """Call a coroutine function with each event until `stop`: one for all topics, or one for each topic.

        After `stop` no further event is begun; handlers that run have 15 s to return. What was handled is committed. A
        cancellation does the same. Raises `ValueError` for a topic without a handler, `TypeError` for what is no
        coroutine function of one argument, `RuntimeError` at a second call, KafkaException for an error that the client
        cannot recover from, and what a handler raises that is no `Exception`.
        """
        if self._handling is not None:
            raise RuntimeError("events are consumed once: make another consumer")
        self._handling = Handling(self._topics, self._by_topic(handlers), self._retries, self._config, self._session)
        await self.initialize()
        await self._consume(self._handling)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End `consume_messages` cleanly, for good. From any thread, and from a handler."""
        self._is_stopped = True
        if self._reader is not None:
            self._reader.stop()

    def get_statistics(self) -> ConsumerStatistics:
        """Return the state of the consumer, a second old at most. From any thread."""
        reader, handling = self._reader, self._handling
        if reader is None or handling is None:
            return ConsumerStatistics()
        idle_seconds = 0.0 if reader.ended.done() else time.monotonic() - reader.turned_at
        return ConsumerStatistics(reader.is_member, idle_seconds, reader.progress, dict(handling.dead_letters.counts))

    def _by_topic(self, handlers: Handler | Mapping[str, Handler]) -> dict[str, Handler]:
        topics = self._topics.values()
        found = handlers if isinstance(handlers, Mapping) else dict.fromkeys(topics, handlers)
        if missing := [topic for topic in topics if topic not in found]:
            raise ValueError(f"no handler for {', '.join(missing)}")
        for topic in topics:
            check_handler(found[topic])
        return dict(found)

    async def _consume(self, handling: Handling) -> None:
        reader = self._reader
        if reader is None or self._is_stopped:
            return
        self._session.start()
        reader.start()
        try:
            await asyncio.shield(reader.ended)
        finally:
            reader.stop()
            await asyncio.shield(_close(reader, handling, self._session))

    def _lane(self, partition: Partition) -> Lane:
        if self._handling is None:
            raise RuntimeError("there are no handlers")
        return Lane(partition, self._handling.handle, self._fail, lambda: self._is_stopped)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self.stop()


def _check(group: object, max_retries: object, retry_delay: object) -> None:
    if not group:  # without one it would be that of a sidecar
        raise ValueError(f"got group {group!r}, expected the name of a consumer group")
    if not isinstance(max_retries, int) or max_retries < 0:
        raise ValueError(f"got max_retries {max_retries!r}, expected a whole number, at least 0")
    if not isinstance(retry_delay, int | float) or not retry_delay >= 0:
        raise ValueError(f"got retry_delay {retry_delay!r}, expected seconds, at least 0")


async def _close(reader: Reader, handling: Handling, session: KafkaSession) -> None:
    await asyncio.wait([reader.ended])
    await handling.close()
    session.stop()
