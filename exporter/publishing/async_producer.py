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
from exporter.model import RegistryError
from exporter.runtime.foreign_text import printable

POLL_SECONDS = 0.2

_OnDelivery = Callable[[KafkaError | None, object], None]


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

    `find_frames` returns the frames by type; it may block, and raise `RegistryError`.
    `send`, `send_unconfirmed` and `close` belong to one event loop. Raises KafkaException for a property that
    librdkafka refuses.
    """

    def __init__(self, config: Config, find_frames: Callable[[], Mapping[Any, bytes]]) -> None:
        self._config = config
        self._find_frames = find_frames
        self._frames: Mapping[Any, bytes] = {}
        self._preparing: asyncio.Future[None] | None = None
        self._producer: Any = clients.producer(config)
        self._closed = False
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="deliveries", daemon=True)
        self._thread.start()

    async def send(self, event: Outgoing) -> None:
        """Send an event and wait until it is acknowledged; raise SendError when it is not, or not in time."""
        if not self._frames:
            await self._ensure_prepared()
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[None] = loop.create_future()

        def on_delivery(error: KafkaError | None, _message: object) -> None:
            with suppress(RuntimeError):  # the event loop has ended without waiting
                loop.call_soon_threadsafe(_complete, delivered, error)

        self._produce(event, on_delivery)
        await delivered

    def send_unconfirmed(self, event: Outgoing) -> None:
        """Send an event if that is possible without waiting; its delivery is not confirmed."""
        if self._frames:
            with suppress(SendError):
                self._produce(event, None)

    async def close(self, seconds: float) -> None:
        """Refuse further events, wait at most `seconds` for those being sent, and discard the rest."""
        self._closed = True
        await asyncio.to_thread(self._finish, seconds)

    async def _ensure_prepared(self) -> None:
        """Wait for the preparation; concurrent calls share one attempt, and after a failure the next call retries."""
        if self._preparing is None or self._preparing.done():
            self._preparing = asyncio.ensure_future(asyncio.to_thread(self._prepare))
        await asyncio.shield(self._preparing)

    def _prepare(self) -> None:
        """Create topics and register schemas as configured; block."""
        try:
            clients.create_topics(self._config)
            self._frames = self._find_frames()
        except KafkaException as error:
            raise SendError(error_text(error)) from error
        except RegistryError as error:
            raise SendError(str(error)) from error

    def _finish(self, seconds: float) -> None:
        if self._producer.flush(seconds):
            self._producer.purge()
            self._producer.flush(POLL_SECONDS)
        self._finished.set()
        self._thread.join()

    def _produce(self, event: Outgoing, on_delivery: _OnDelivery | None) -> None:
        if self._closed:
            raise SendError("the producer is stopped")
        body = None if event.body is None else self._frames[event.type] + event.body
        try:
            self._producer.produce(event.topic, body, event.key, headers=event.headers, on_delivery=on_delivery)
        except BufferError:
            raise SendError("too many events are waiting to be sent") from None
        except KafkaException as error:
            raise SendError(error_text(error)) from error

    def _poll(self) -> None:
        while not self._finished.is_set():
            self._producer.poll(POLL_SECONDS)


def _complete(delivered: asyncio.Future[None], error: KafkaError | None) -> None:
    if delivered.done():
        return  # the waiting call was cancelled
    if error is None:
        delivered.set_result(None)
    else:
        delivered.set_exception(SendError(printable(error.str())))
