"""A Kafka producer for asyncio whose calls return when the broker has acknowledged their events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from exporter.config.schema import Config
from exporter.kafka import clients
from exporter.kafka.connection_errors import error_text
from exporter.kafka.renewed_producer import OnDelivery, RenewedProducer
from exporter.kafka.session import KafkaSession
from exporter.model import RegistryError
from exporter.runtime.foreign_text import printable

POLL_SECONDS = 0.2


class SendError(Exception):
    """The broker did not acknowledge an event, which may or may not have been delivered."""


class Outgoing(Protocol):
    """What is sent: a frame by its type, and the rest of its value behind it; without a body the value is null."""

    @property
    def type(self) -> str:
        """Return the type, which has a frame."""

    @property
    def topic(self) -> str:
        """Return the topic."""

    @property
    def key(self) -> bytes | None:
        """Return the key."""

    @property
    def body(self) -> bytes | None:
        """Return the value without its frame."""

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """Return the headers."""


class AsyncProducer:
    """Producer with a thread that only polls for delivery reports.

    `find_frames` returns the frames by type; it may block, and raise `RegistryError`. The clients log in by `session`.
    `send`, `send_unconfirmed` and `close` belong to one event loop. Raises KafkaException for a property that
    librdkafka refuses.
    """

    def __init__(self, config: Config, find_frames: Callable[[], Mapping[Any, bytes]], session: KafkaSession) -> None:
        self._config = config
        self._session = session
        self._find_frames = find_frames
        self._frames: Mapping[Any, bytes] = {}
        self._preparing: asyncio.Future[None] | None = None
        make = session.login.maker("producer", config, clients.producer)
        self._producer = RenewedProducer(make, session)
        session.start()
        self._closed = False
        self._closing = threading.Event()
        self._last_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="deliveries", daemon=True)
        self._thread.start()

    async def send(self, event: Outgoing) -> None:
        """Send an event and wait until it is acknowledged; raise SendError when it is not, or not in time."""
        if not self._frames:
            await self._ensure_prepared()
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[None] = loop.create_future()

        def on_delivery(error: KafkaError | None, _message: object) -> None:
            with suppress(RuntimeError):  # the event loop has ended without waiting
                loop.call_soon_threadsafe(_complete, delivered, None if error is None else self._error_text(error))

        self._produce(event, on_delivery)
        await delivered

    def send_unconfirmed(self, event: Outgoing) -> None:
        """Send an event if that is possible without waiting; its delivery is not confirmed."""
        if self._frames:
            with suppress(SendError):
                self._produce(event, lambda *_: None)

    async def close(self, seconds: float) -> None:
        """Refuse further events, wait at most `seconds` for those being sent, and discard the rest."""
        self._closed, self._last_seconds = True, seconds
        self._closing.set()
        await asyncio.to_thread(self._thread.join)

    async def _ensure_prepared(self) -> None:
        """Wait for the preparation; concurrent calls share one attempt, and after a failure the next call retries."""
        if self._preparing is None or self._preparing.done():
            self._preparing = asyncio.ensure_future(asyncio.to_thread(self._prepare))
        await asyncio.shield(self._preparing)

    def _prepare(self) -> None:
        """Create topics and register schemas as configured; block."""
        try:
            clients.create_topics(self._session.login.present(self._config))
            self._frames = self._find_frames()
        except KafkaException as error:
            raise SendError(self._session.explained(error_text(error))) from error
        except RegistryError as error:
            raise SendError(str(error)) from error

    def _produce(self, event: Outgoing, on_delivery: OnDelivery) -> None:
        if self._closed:
            raise SendError("the producer is stopped")
        body = None if event.body is None else self._frames[event.type] + event.body
        try:
            self._producer.produce(event.topic, body, event.key, on_delivery, headers=event.headers)
        except BufferError:
            raise SendError("too many events are waiting to be sent") from None
        except KafkaException as error:
            raise SendError(error_text(error)) from error

    def _error_text(self, error: KafkaError) -> str:
        """Return why an event was not delivered; by the last connection that failed when it waited for one."""
        text = printable(error.str())
        return self._session.explained(text) if error.code() == KafkaError._MSG_TIMED_OUT else text

    def _run(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(POLL_SECONDS)
        self._producer.close(self._last_seconds)
        self._session.stop()


def _complete(delivered: asyncio.Future[None], error: str | None) -> None:
    if delivered.done():
        return  # the waiting call was cancelled
    if error is None:
        delivered.set_result(None)
    else:
        delivered.set_exception(SendError(error))
