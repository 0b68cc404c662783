"""The bare consumer of exchange rates: decode, SET each, commit. A yardstick: later news may lose, histories stay.

`python -m tests.bench.bare_cache BROKER TOPIC REDIS_PORT COUNT`
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import redis
from confluent_kafka import Consumer

from exporter.ingestion.events import ExchangeRateUpdated
from tests.bench.result import Stopwatch, report


def main(bootstrap: str, topic: str, port: int, count: int) -> None:
    """Process so many events and report what they cost."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"bare-{topic}", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    decode = msgspec.json.Decoder(ExchangeRateUpdated).decode
    cache, done, watch = redis.Redis(port=port), 0, None
    while done < count:
        messages: list[Any] = consumer.consume(500, 0.1)
        watch = watch or (Stopwatch(0) if messages else None)
        for message in messages:
            event = decode(message.value())
            cache.set(f"rate:{event.currency_code}", msgspec.json.encode(event), px=600_000)
        done += len(messages)
    if watch is not None:
        report(watch.result(done))
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
