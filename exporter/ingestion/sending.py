"""Sends the events of an ingesting service; each call returns when the broker has acknowledged its event."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, Self

from prometheus_client import CollectorRegistry

from exporter.config.schema import Config
from exporter.events import framing
from exporter.events.encoding import AvroEncoder, JsonEncoder, utc_text
from exporter.events.factory import NOT_DELIVERED, EventFactory
from exporter.ingestion.encodings import avro_body, encode_json
from exporter.ingestion.events import EVENTS, Event, check, key_of
from exporter.ingestion.lines import EventLines
from exporter.ingestion.settings import SEND_SECONDS, SERVERS, settings
from exporter.kafka.session import KafkaSession
from exporter.model import EventType
from exporter.publishing.async_producer import AsyncProducer, SendError
from exporter.runtime import logs
from exporter.runtime.clock import now_ms
from exporter.runtime.rate_limit import RateLimiter

log = logs.logger("ingestion")

CE_TYPE = "marketdata.ingestion."
# Fields of events in log lines.
LOGGED = ("source", "data_count", "total_processed", "currency_code", "invalidation_type", "correlation_id")


class Outgoing(NamedTuple):
    """An event or a dead letter, ready for Kafka."""

    type: str
    topic: str
    key: bytes | None
    body: bytes | None
    headers: list[tuple[str, bytes]]


class IngestionProducer:
    """Producer of the events of one ingesting service; idempotent, so that an event is not written twice.

    - `prefix`: text before the names of the topics, where several environments share a cluster.
    - `encoding`: `"avro"`, or `"json"` for readers without Avro tools.
    - `error_topic`: where an error event goes when an event was not delivered.
    - `instance`: the `ce_source` of the events, by default the name of the host.
    - `timeout_seconds`: how long an event may take to be delivered, retries included.
    - `config`: other settings, by the keys of the YAML file, such as `kafka.properties`; overrides the arguments. With
      `output.schema_registry` Avro is in Confluent's wire format, else in the single-object encoding.

    Use it in one event loop, with `async with` or with `start` and `stop`. No call blocks the event loop. Raises
    `ConfigError` when an argument is wrong.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str = SERVERS,
        prefix: str = "",
        encoding: Literal["avro", "json"] = "avro",
        error_topic: str = "ws.error",
        instance: str | None = None,
        timeout_seconds: float = SEND_SECONDS,
        config: Mapping[str, object] | None = None,
    ) -> None:
        arguments: dict[str, object] = {
            "instance": instance,
            "kafka.bootstrap_servers": bootstrap_servers,
            "output.encoding": encoding,
            "output.error_topic": error_topic,
        }
        self._load = partial(settings, arguments, config, prefix, timeout_seconds)
        self._config = self._load()
        self._prefix = prefix
        self._timeout_seconds = timeout_seconds
        is_json = self._config.output.encoding == "json"
        self._encode = encode_json if is_json else avro_body
        self._content_type = (JsonEncoder if is_json else AvroEncoder).content_type
        self._errors = _errors(self._config)
        self._lines = EventLines()
        self._limiter = RateLimiter(burst=10, per_second=1.0)
        self._producer: AsyncProducer | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the producer. An unreachable broker is no error here: calls that send wait for it.

        Raises KafkaException for a property that librdkafka refuses.
        """
        if self._producer is None:
            output = self._config.output
            topics = {topic: self._prefix + topic for topic in EVENTS} | {EventType.ERROR: output.error_topic}
            find_frames = framing.frames(output, CollectorRegistry(), topics)
            self._producer = AsyncProducer(self._config, find_frames, KafkaSession(self._config, self._load))

    async def stop(self) -> None:
        """Wait until events being sent are delivered, at most `timeout_seconds`, and close the connections."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close(self._timeout_seconds)

    async def send(self, topic: str, fields: Mapping[str, Any]) -> None:
        """Send the event of a topic (its name without prefix), and wait until the broker has acknowledged it.

        Raises `ValueError`, before anything is sent, for a field that is missing or wrong; `SendError` when the broker
        did not acknowledge the event, which may or may not have been delivered; `RuntimeError` when not started.
        """
        event = check(topic, fields)
        if self._producer is None:
            raise RuntimeError("the producer is not started")
        try:
            await self._producer.send(self._outgoing(topic, event))
        except SendError as error:
            self._send_error_event(topic, error)
            raise
        if (more := self._lines.next_fields()) is not None:
            log.info("event sent", extra={"topic": self._prefix + topic, **logged(event), **more})

    def _outgoing(self, topic: str, event: Event) -> Outgoing:
        key = key_of(event)
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_source", self._config.instance.encode()),
            ("content-type", self._content_type),
            ("ce_type", f"{CE_TYPE}{topic}".encode()),
            ("ce_id", uuid.uuid4().hex.encode()),
            ("ce_time", utc_text(now_ms()).encode()),
        ]
        return Outgoing(
            topic, self._prefix + topic, None if key is None else key.encode(), self._encode(event), headers
        )

    def _send_error_event(self, topic: str, error: SendError) -> None:
        """Send an error event, limited in rate, without waiting for it."""
        name = self._prefix + topic
        log.warning("event not delivered", extra={"topic": name, "error": str(error)})
        suppressed = self._limiter.admit(NOT_DELIVERED, now_ms())
        if suppressed is not None and self._producer is not None:
            identity = f"{self._config.instance}-{uuid.uuid4().hex}"
            event = self._errors.not_delivered(identity, name, f"{topic}: {error}", suppressed, utc_text(now_ms()))
            self._producer.send_unconfirmed(event)


def _errors(config: Config) -> EventFactory:
    output = config.output
    return EventFactory(framing.encoder(output), config.instance, output.topic, output.error_topic)


def logged(event: Event) -> dict[str, object]:
    """Return the fields of an event that a log line shows."""
    return {name: getattr(event, name) for name in LOGGED if hasattr(event, name)}
