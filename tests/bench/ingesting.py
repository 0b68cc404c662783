"""One contestant: a `MessageConsumer`, or a bare consumer with the same decode.

`python -m tests.bench.ingesting NAME BROKER PREFIX EVENTS WARM`; NAME is `bare`, `consumer` or `logging`, the consumer
of a program that writes its log lines of level INFO.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from confluent_kafka import Consumer

from exporter.ingestion import ExchangeRateUpdated, MessageConsumer
from exporter.ingestion.encodings import decode
from tests.bench.result import Stopwatch, report

TOPIC = "exchange_rate_updated"


def bare(bootstrap: str, prefix: str, count: int, warm: int) -> None:
    """Decode the events, keep the last rates, and let the client commit what was decoded."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": f"bare-{prefix}", "auto.offset.reset": "earliest",
        "enable.auto.offset.store": False, "auto.commit.interval.ms": 250, "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": 10, "queued.max.messages.kbytes": 16384,
    })  # fmt: skip
    consumer.subscribe([prefix + TOPIC])
    rates: dict[str, float] = {}
    done, watch = 0, None
    while done < count:
        messages = consumer.consume(500, 0.1)
        if messages and watch is None and done >= warm:
            watch = Stopwatch(done)
        for message in messages:
            event = decode(TOPIC, message.value())
            assert isinstance(event, ExchangeRateUpdated)
            rates[event.currency_code] = event.deal_base_rate
            consumer.store_offsets(message)
        done += len(messages)
    if watch is not None:
        report(watch.result(done))
    consumer.close()


def handled(name: str, bootstrap: str, prefix: str, count: int, warm: int) -> None:
    """Handle the events with a handler that keeps the last rates."""
    consumer = MessageConsumer([TOPIC], f"{name}-{prefix}", bootstrap_servers=bootstrap, prefix=prefix)
    rates: dict[str, float] = {}
    done = 0
    watch: Stopwatch | None = None

    async def handle(event: ExchangeRateUpdated) -> None:
        nonlocal done, watch
        rates[event.currency_code] = event.deal_base_rate
        done += 1
        if done == warm:
            watch = Stopwatch(done)
        if done == count:
            if watch is not None:
                report(watch.result(done))
            consumer.stop()

    asyncio.run(consumer.consume_messages(handle))


def main(name: str, bootstrap: str, prefix: str, count: int, warm: int) -> None:
    """Run one of them."""
    if name == "logging":
        logging.basicConfig(level=logging.INFO, stream=open(os.devnull, "w"))  # noqa: SIM115, open until the end
    if name == "bare":
        bare(bootstrap, prefix, count, warm)
    else:
        handled(name, bootstrap, prefix, count, warm)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], *map(int, sys.argv[4:]))
