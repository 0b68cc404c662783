"""Calls the handlers of events, again when they fail, and sets aside what cannot be handled."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any, NamedTuple

from confluent_kafka import Message

from exporter.config.schema import Config
from exporter.ingestion.encodings import decode
from exporter.ingestion.events import Event
from exporter.ingestion.lanes import Abandoned, Lane
from exporter.ingestion.lines import EventLines
from exporter.ingestion.schemas import RegisteredSchemas
from exporter.ingestion.sending import Outgoing, logged
from exporter.ingestion.settings import DEAD_LETTER, SEND_SECONDS
from exporter.kafka.session import KafkaSession
from exporter.publishing.async_producer import AsyncProducer, SendError
from exporter.runtime import logs
from exporter.runtime.foreign_text import printable

log = logs.logger("ingestion")

# Of the events of its topics.
Handler = Callable[[Any], Awaitable[None]]
LONGEST_DELAY_SECONDS = 30.0
DEAD_LETTER_PAUSE_SECONDS = 1.0
INVALID, FAILED = "invalid_event", "handler_failed"


class Retries(NamedTuple):
    """How often a handler that raised is called again, and seconds before the first time; they double each time."""

    times: int
    delay: float

    def delay_before(self, attempt: int) -> float:
        """Return the seconds before the n-th repetition, which counts from 1."""
        doublings = min(attempt - 1, 40)
        return float(min(self.delay * 2**doublings, LONGEST_DELAY_SECONDS))


class Handling:
    """The handlers by the names of topics in Kafka; `topics` maps those to the topics of events."""

    def __init__(
        self,
        topics: Mapping[str, str],
        handlers: Mapping[str, Handler],
        retries: Retries,
        config: Config,
        session: KafkaSession,
    ) -> None:
        self._topics = topics
        self._handlers = handlers
        self._retries = retries
        self._lines = EventLines()
        self.dead_letters = DeadLetters(config, session)
        self._schemas = None if config.output.schema_registry is None else RegisteredSchemas(config.output)

    async def handle(self, lane: Lane, message: Message) -> None:
        """Return when the handler of a message has returned, or its dead letter is acknowledged."""
        topic, value = self._topics[lane.partition.topic], message.value()
        if self._schemas is not None:
            await self._schemas.wait_for(lane, value)
        try:
            event = decode(topic, value, None if self._schemas is None else self._schemas.find)
        except ValueError as error:
            await self.dead_letters.send(lane, message, INVALID, str(error))
            return
        for attempt in count(1):
            if (error_text := await _error_of(self._handlers[topic], event)) is None:
                if (more := self._lines.next_fields()) is not None:
                    log.info("event handled", extra={**place(message), **logged(event), **more})
                return
            if attempt > self._retries.times:
                await self.dead_letters.send(lane, message, FAILED, error_text)
                return
            log.warning("handler failed, retrying", extra={"topic": message.topic(), "error": error_text})
            await lane.pause(self._retries.delay_before(attempt))

    async def close(self) -> None:
        """Close the connections."""
        await self.dead_letters.close()
        if self._schemas is not None:
            self._schemas.close()


class DeadLetters:
    """Producer of the events that cannot be handled, each to `<topic>.dead_letter`; it connects at the first.

    `counts` are the acknowledged ones by topic in Kafka and reason.
    """

    def __init__(self, config: Config, session: KafkaSession) -> None:
        self.counts = Counter[tuple[str, str]]()
        self._config = config
        self._session = session
        self._producer: AsyncProducer | None = None

    async def send(self, lane: Lane, message: Message, reason: str, error_text: str) -> None:
        """Send a message as it is, with the reason in its headers; return when that is acknowledged.

        Raises `Abandoned` when the partition is released before.
        """
        if self._producer is None:
            self._producer = AsyncProducer(self._config, lambda: {DEAD_LETTER: b""}, self._session)
        letter = dead_letter(message, reason, error_text, self._config.input.group)
        while True:
            try:
                await self._producer.send(letter)
                break
            except SendError as error:
                log.warning("dead letter not delivered, retrying", extra={"topic": letter.topic, "error": str(error)})
                await lane.pause(DEAD_LETTER_PAUSE_SECONDS)
        self.counts[message.topic() or "", reason] += 1
        log.warning("event set aside", extra={**place(message), "reason": reason, "error": error_text})

    async def close(self) -> None:
        """Close the connections."""
        if self._producer is not None:
            await self._producer.close(SEND_SECONDS)


def dead_letter(message: Message, reason: str, error_text: str, group: str) -> Outgoing:
    """Return the dead letter of a message: its key, value and headers, and further headers with the reason."""
    why = {
        "dead_letter_reason": reason,
        "dead_letter_error": printable(error_text, 500),
        "dead_letter_topic": message.topic(),
        "dead_letter_partition": message.partition(),
        "dead_letter_offset": message.offset(),
        "dead_letter_group": group,
    }
    headers = [*(message.headers() or ()), *((name, str(value).encode()) for name, value in why.items())]
    return Outgoing(DEAD_LETTER, f"{message.topic()}{DEAD_LETTER}", message.key(), message.value(), headers)


def place(message: Message) -> dict[str, object]:
    """Return where a message is, for a log line."""
    return {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}


def check_handler(handler: object) -> None:
    """Raise `TypeError` for what cannot be called with an event and awaited: all events would become dead letters."""
    called = getattr(type(handler), "__call__", None)  # noqa: B004, that of an object that is no function
    if not callable(handler) or not any(map(inspect.iscoroutinefunction, (handler, called))):
        advice = "expected a coroutine function: use asyncio.to_thread in one for what blocks"
        raise TypeError(f"got the handler {handler!r}, {advice}")
    try:
        inspect.signature(handler).bind(None)
    except TypeError as error:
        raise TypeError(f"the handler {handler!r} cannot be called with an event: {error}") from None


async def _error_of(handler: Handler, event: Event) -> str | None:
    """Return why a handler failed; None when it returned."""
    try:
        await handler(event)
    except Abandoned:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return _described(error)  # of a task in the handler: the partition goes on
    except Exception as error:
        return _described(error)
    return None


def _described(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {error}")
