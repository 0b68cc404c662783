"""Monitoring events of programs that count batches themselves: the events of the sidecar, each acknowledged."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping
from functools import partial
from itertools import count
from typing import Annotated, Any, Literal, Self, TypeVar

import msgspec
from msgspec import Meta
from prometheus_client import CollectorRegistry

from exporter.api.arguments import feed_key
from exporter.config.layers import Problem
from exporter.config.loader import ConfigError
from exporter.config.schema import Config
from exporter.decoding.batch import MAX_TIMESTAMP_MS
from exporter.events import framing
from exporter.events.encoding import utc_text
from exporter.events.factory import NOT_DELIVERED, Event, EventFactory
from exporter.events.values import aggregated_value, batch_value
from exporter.kafka.arguments import configure
from exporter.kafka.properties import mistakes
from exporter.kafka.session import KafkaSession
from exporter.model import BatchResult, EventType, FeedKey, Partition
from exporter.publishing.async_producer import AsyncProducer, SendError
from exporter.runtime.clock import now_ms
from exporter.runtime.rate_limit import RateLimiter

SEND_SECONDS = 10.0

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Number = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
_Ratio = Annotated[float, Meta(ge=0, le=1)]
_T = TypeVar("_T", bound=msgspec.Struct)


class _BatchStats(msgspec.Struct):
    batch_size: _Count
    unique_symbols: _Count
    cache_efficiency: _Ratio
    timestamp_ms: Annotated[int, Meta(ge=0, le=MAX_TIMESTAMP_MS)]


class _Summary(msgspec.Struct):
    total_batches: _Count
    total_messages: _Count
    avg_batch_size: _Number
    avg_symbols_per_batch: _Number
    avg_cache_efficiency: _Ratio
    messages_per_second: _Number
    batches_per_minute: _Number
    elapsed_seconds: _Number
    summary_period_seconds: _Count


class BatchMonitoringProducer:
    """Producer of batch and summary events; each call returns when the broker has acknowledged its event.

    - `encoding`: `"avro"`, or `"json"` for readers without Avro tools.
    - `schema_registry`: a URL; with it Avro has Confluent's wire format, else single-object encoding.
      `schema_registry_username` and `schema_registry_password` are taken as they stand; in the URL they would have to
      be percent-encoded.
    - `instance`: the `ce_source` of the events, by default the name of the host.
    - `timeout_seconds`: how long an event may take to be delivered, retries included.
    - `config`: other settings, by the keys of the YAML file, such as `kafka.properties`; overrides the arguments.

    Use it in one event loop, as `async with BatchMonitoringProducer() as producer:` or with `start_producer` and
    `stop_producer`. No call blocks the event loop. Raises ConfigError when an argument is wrong.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str = "localhost:9092",
        topic: str = "monitoring.batch.performance",
        error_topic: str = "ws.error",
        encoding: Literal["avro", "json"] = "avro",
        schema_registry: str | None = None,
        schema_registry_username: str | None = None,
        schema_registry_password: str | None = None,
        instance: str | None = None,
        timeout_seconds: float = SEND_SECONDS,
        config: Mapping[str, object] | None = None,
    ) -> None:
        if not 0.1 <= timeout_seconds <= 86_400:
            raise ConfigError((Problem("timeout_seconds", f"got {timeout_seconds}, expected 0.1 to 86400"),))
        arguments: dict[str, object] = {
            "instance": instance,
            "kafka.bootstrap_servers": bootstrap_servers,
            "kafka.producer_properties": {"message.timeout.ms": str(round(timeout_seconds * 1000))},
            "output.topic": topic,
            "output.error_topic": error_topic,
            "output.encoding": encoding,
            "output.schema_registry": schema_registry,
            "output.schema_registry_username": schema_registry_username,
            "output.schema_registry_password": schema_registry_password,
        }
        # There are no input offsets to commit with the events, whatever the configuration of a sidecar sets.
        given = {**(config or {}), "output.delivery": "at_least_once"}
        self._load = partial(configure, arguments, given, mistakes)
        self._config = self._load()
        self._timeout_seconds = timeout_seconds
        self._events = _FeedEvents(self._config)
        self._limiter = RateLimiter(burst=10, per_second=1.0)
        self._producer: AsyncProducer | None = None

    async def __aenter__(self) -> Self:
        await self.start_producer()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_producer()

    async def start_producer(self) -> None:
        """Start the producer. An unreachable broker is no error here: calls that send wait for it.

        Raises KafkaException for a property that librdkafka refuses.
        """
        if self._producer is None:
            output = self._config.output
            find_frames = framing.frames(output, CollectorRegistry(), framing.topics(output))
            self._producer = AsyncProducer(self._config, find_frames, KafkaSession(self._config, self._load))

    async def stop_producer(self) -> None:
        """Wait until events being sent are delivered, at most `timeout_seconds`, and close the connections."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close(self._timeout_seconds)

    async def send_batch_event(
        self,
        *,
        region: str,
        exchange: str,
        request_type: str,
        batch_size: int,
        unique_symbols: int,
        cache_efficiency: float,
        timestamp_ms: int,
    ) -> None:
        """Send the `batch_collected` event of one batch, collected at `timestamp_ms` (Unix milliseconds).

        `cache_efficiency` is a ratio from 0 to 1. Raises ValueError for invalid values, SendError when the
        broker did not acknowledge the event, RuntimeError when the producer is not started.
        """
        feed = feed_key(region, exchange, request_type, self._config.input.limits)
        stats = _checked(_BatchStats(batch_size, unique_symbols, cache_efficiency, timestamp_ms))
        value = batch_value(feed, BatchResult(*msgspec.structs.astuple(stats)), _now_utc())
        await self._send(EventType.BATCH, feed, value)

    async def send_summary_event(
        self,
        *,
        region: str,
        exchange: str,
        request_type: str,
        total_batches: int,
        total_messages: int,
        avg_batch_size: float,
        avg_symbols_per_batch: float,
        avg_cache_efficiency: float,
        messages_per_second: float,
        batches_per_minute: float,
        elapsed_seconds: float,
        summary_period_seconds: int,
    ) -> None:
        """Send the `performance_summary` event of one interval.

        `elapsed_seconds` is its length as measured, `summary_period_seconds` as configured. Raises as
        `send_batch_event` does.
        """
        feed = feed_key(region, exchange, request_type, self._config.input.limits)
        summary = _Summary(
            total_batches=total_batches,
            total_messages=total_messages,
            avg_batch_size=avg_batch_size,
            avg_symbols_per_batch=avg_symbols_per_batch,
            avg_cache_efficiency=avg_cache_efficiency,
            messages_per_second=messages_per_second,
            batches_per_minute=batches_per_minute,
            elapsed_seconds=elapsed_seconds,
            summary_period_seconds=summary_period_seconds,
        )
        await self._send_summary(feed, _checked(summary))

    async def _send_summary(self, feed: FeedKey, summary: _Summary) -> None:
        stats = msgspec.structs.asdict(summary)
        period = stats.pop("summary_period_seconds")
        await self._send(EventType.SUMMARY, feed, aggregated_value(feed, stats, period, _now_utc()))

    async def _send(self, event_type: EventType, feed: FeedKey, value: Mapping[str, Any]) -> None:
        if self._producer is None:
            raise RuntimeError("the producer is not started")
        try:
            await self._producer.send(self._events.feed_event(feed, event_type, value))
        except SendError as error:
            self._send_error_event(f"{event_type} of {feed}: {error}")
            raise

    def _send_error_event(self, message: str) -> None:
        """Send an error event, limited in rate, without waiting for it."""
        suppressed = self._limiter.admit(NOT_DELIVERED, now_ms())
        if suppressed is not None and self._producer is not None:
            self._producer.send_unconfirmed(self._events.feed_event_not_delivered(message, suppressed))


class _FeedEvents(EventFactory):
    """Factory of events that are about no record: a unique partition name makes each `ce_id` unique."""

    def __init__(self, config: Config) -> None:
        output = config.output
        super().__init__(framing.encoder(output), config.instance, output.topic, output.error_topic)
        self._partition = Partition(f"{config.instance}-{uuid.uuid4().hex}", 0)
        self._numbers = count()

    def feed_event(self, feed: FeedKey, event_type: EventType, value: Mapping[str, Any]) -> Event:
        """Return an event of a feed."""
        return self._event(event_type, self._topic, str(feed).encode(), self._identity(), value, self._partition)

    def feed_event_not_delivered(self, message: str, suppressed: int) -> Event:
        """Return the error event about an event that was not delivered."""
        return self.not_delivered(self._identity(), self._topic, message, suppressed, _now_utc())

    def _identity(self) -> str:
        return f"{self._partition}/{next(self._numbers)}"


def _checked(given: _T) -> _T:
    """Return the values converted to their types; raise `ValueError`, which names the first invalid one."""
    try:
        return msgspec.convert(msgspec.structs.asdict(given), type(given))
    except msgspec.ValidationError as error:
        raise ValueError(str(error).replace("`$.", "`")) from None


def _now_utc() -> str:
    return utc_text(now_ms())
