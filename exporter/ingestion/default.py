"""Functions that send with one producer of the process, which connects at the first call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.ingestion.sending import IngestionProducer


class _Default:
    producer: IngestionProducer | None = None


async def connect(**arguments: Any) -> None:
    """Connect the functions with these arguments of `IngestionProducer`, in place of the defaults.

    Raises `ConfigError` when an argument is wrong, KafkaException for a property that librdkafka refuses.
    """
    producer = IngestionProducer(**arguments)
    await producer.start()
    await disconnect()
    _Default.producer = producer


async def disconnect() -> None:
    """Wait until events being sent are delivered, and close the connections of the functions."""
    producer, _Default.producer = _Default.producer, None
    if producer is not None:
        await producer.stop()


async def send_new_data_received(fields: Mapping[str, Any]) -> None:
    """Send the begin of a round; see `IngestionProducer.send`."""
    await _send("new_data_received", fields)


async def send_exchange_rate_updated(fields: Mapping[str, Any]) -> None:
    """Send the exchange rate of a currency; see `IngestionProducer.send`."""
    await _send("exchange_rate_updated", fields)


async def send_data_processing_completed(fields: Mapping[str, Any]) -> None:
    """Send the end of a round; see `IngestionProducer.send`."""
    await _send("data_processing_completed", fields)


async def send_cache_invalidation(fields: Mapping[str, Any]) -> None:
    """Send keys that caches drop; see `IngestionProducer.send`."""
    await _send("cache_invalidation", fields)


async def _send(topic: str, fields: Mapping[str, Any]) -> None:
    if _Default.producer is None:
        await connect()
    producer = _Default.producer
    if producer is None:
        raise RuntimeError("the functions were disconnected meanwhile")
    await producer.send(topic, fields)
