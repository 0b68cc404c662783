"""Input for the benchmarks: the messages of the hitbtc recording, in batches of a given size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, cycle, islice

from confluent_kafka import Producer

from tests.support.recordings import recorded

RECORDING = "hitbtc"
# Different batches; after the last the first comes again, and with it a step back in time.
DIFFERENT = 2000


def batches(size: int) -> list[bytes]:
    """Return records with `size` messages each, as a collector would write them: time goes on from batch to batch."""
    values = [record.value for record in recorded(RECORDING)]
    messages = sorted((message for value in values for message in value["data"]), key=lambda row: row["timestamp"])
    span = messages[-1]["timestamp"] - messages[0]["timestamp"] + 1
    rows = (
        {**message, "timestamp": message["timestamp"] + round_ * span} for round_ in count() for message in messages
    )
    made = []
    for _ in range(DIFFERENT):
        data = list(islice(rows, size))
        made.append({**values[0], "timestamp_ms": data[-1]["timestamp"] + 50, "batch_size": size, "data": data})
    return [json.dumps(batch, separators=(",", ":")).encode() for batch in made]


def fill(bootstrap: str, topic: str, partitions: int, values: list[bytes], records: int) -> None:
    """Produce `records` records, evenly over the partitions."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    for number, value in enumerate(_endless(values, records)):
        while True:
            try:
                producer.produce(topic, value, partition=number % partitions)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def _endless(values: list[bytes], records: int) -> Iterator[bytes]:
    return islice(cycle(values), records)
