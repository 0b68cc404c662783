"""An ingesting service and a service that follows it: a round of rates, and one that is no event."""

import asyncio
import os
from datetime import UTC, datetime

from exporter.ingestion import (
    DataProcessingCompleted,
    ExchangeRateUpdated,
    IngestionProducer,
    MessageConsumer,
    create_topics,
)

KAFKA = os.environ.get("KAFKA", "localhost:9092")
PREFIX = os.environ.get("PREFIX", "")
RATES = {"USD": 1330.5, "EUR": 1448.2, "JPY(100)": 889.75}


def now() -> str:
    """Return the present time."""
    return datetime.now(UTC).isoformat()


async def ingest() -> None:
    """Send one round."""
    async with IngestionProducer(bootstrap_servers=KAFKA, prefix=PREFIX) as producer:
        begin = {"source": "bank", "data_count": 3, "collection_time": now(), "processing_time_ms": 40}
        await producer.send("new_data_received", begin | {"correlation_id": "round-1"})
        for code, rate in RATES.items():
            spread = {"tts": rate * 1.01, "ttb": rate * 0.99}
            names = {"currency_code": code, "currency_name": code, "source": "bank"}
            times = {"recorded_at": now(), "updated_at": now()}
            await producer.send("exchange_rate_updated", {**names, "deal_base_rate": rate, **spread, **times})
        end = {"source": "bank", "total_processed": 3, "completed_at": now(), "processing_time_ms": 60}
        await producer.send("data_processing_completed", end | {"correlation_id": "round-1"})
        try:
            await producer.send("data_processing_completed", {"source": "bank"})
        except ValueError as error:
            print(error)


async def follow() -> None:
    """Handle events until the rates of a round are all there."""
    topics = ["exchange_rate_updated", "data_processing_completed"]
    consumer = MessageConsumer(topics, "rates", bootstrap_servers=KAFKA, prefix=PREFIX)
    rates: dict[str, float] = {}
    expected = len(RATES)

    def stop_when_complete() -> None:
        if len(rates) == expected:
            consumer.stop()

    async def keep(event: ExchangeRateUpdated) -> None:
        rates[event.currency_code] = event.deal_base_rate
        stop_when_complete()

    async def complete(event: DataProcessingCompleted) -> None:
        nonlocal expected
        expected = event.total_processed
        stop_when_complete()

    await consumer.initialize()
    await consumer.consume_messages({topics[0]: keep, topics[1]: complete})
    print(dict(sorted(rates.items())))


async def main() -> None:
    """Create the topics, send and handle."""
    await create_topics(bootstrap_servers=KAFKA, prefix=PREFIX, error_topic=f"{PREFIX}ws.error")
    await ingest()
    await follow()


asyncio.run(main())
