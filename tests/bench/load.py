"""Input for the benchmarks: the messages of the hitbtc recording, in batches of a given size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import cycle, islice

from confluent_kafka import Producer

from tests.support.recordings import recorded

RECORDING = "hitbtc"


def batches(size: int) -> list[bytes]:
    """Return records with `size` messages each, all different, as collectors would write them."""
    values = [record.value for record in recorded(RECORDING)]
    messages = [message for value in values for message in value["data"]]
    rows = cycle(messages)
    count = max(1, len(messages) // size)
    made = ({**values[0], "batch_size": size, "data": list(islice(rows, size))} for _ in range(count))
    return [json.dumps(batch, separators=(",", ":")).encode() for batch in made]


def fill(bootstrap: str, topic: str, partitions: int, values: list[bytes], count: int) -> None:
    """Produce `count` records, evenly over the partitions."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    for number, value in enumerate(_endless(values, count)):
        while True:
            try:
                producer.produce(topic, value, partition=number % partitions)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def _endless(values: list[bytes], count: int) -> Iterator[bytes]:
    return islice(cycle(values), count)
