"""The bare loop: as little as does the job, exactly once. It is the yardstick, not a design.

Consume, typed decode, unique symbols, three histograms of plain integers, one Avro event with headers, transactions.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_left
from typing import Any

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from exporter.events.encoding import AvroEncoder, Stamp
from exporter.feeds.feed import COUNT_BOUNDS, EFFICIENCY_BOUNDS
from exporter.model import BatchResult, FeedKey
from tests.bench.result import Stopwatch, report

TRANSACTION = 5000
TRANSACTION_SECONDS = 0.25


class Row(msgspec.Struct, gc=False):
    """A message, as far as it counts."""

    target_currency: str


class Batch(msgspec.Struct, gc=False):
    """A batch, as far as it counts."""

    exchange: str
    region: str
    request_type: str
    timestamp_ms: int
    data: list[Row]


def main(bootstrap: str, topic: str, count: int, warm: int, events: str) -> None:
    """Process `count` batches of a topic, write to `events`, and report what those after the first `warm` cost."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": f"bare-{topic}", "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "isolation.level": "read_committed", "fetch.queue.backoff.ms": 10,
        "session.timeout.ms": 6000,
        "queued.max.messages.kbytes": 16384,
    })  # fmt: skip
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": f"bare-{topic}", "compression.type": "lz4"}
    )
    producer.init_transactions()
    consumer.subscribe([topic])
    decode = msgspec.json.Decoder(Batch).decode
    encode = AvroEncoder().encode_batch
    stamp = Stamp.at(1_760_031_213_693)
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_source", b"bare"),
        ("ce_type", b"x"),
        ("content-type", b"application/avro"),
    ]
    sizes, uniques, efficiencies = ([0] * 12 for _ in range(3))
    offsets: dict[Any, Any] = {}
    done, open_, health, begun = 0, 0, None, 0.0
    while done < count:
        messages: list[Any] = consumer.consume(1000, 0.1)
        if not messages and not open_:
            continue
        if health is None and done >= warm:
            health = Stopwatch(done)
        if not open_:
            producer.begin_transaction()
            begun = time.monotonic()
        for message in messages:
            batch = decode(message.value())
            unique = len({row.target_currency for row in batch.data})
            efficiency = 1 / unique if unique else 0.0
            sizes[bisect_left(COUNT_BOUNDS, len(batch.data))] += 1
            uniques[bisect_left(COUNT_BOUNDS, unique)] += 1
            efficiencies[bisect_left(EFFICIENCY_BOUNDS, efficiency)] += 1
            feed = FeedKey(batch.region, batch.exchange, batch.request_type)
            body = encode(feed, BatchResult(len(batch.data), unique, efficiency, batch.timestamp_ms), stamp)
            place = f"{topic}/{message.partition()}/{message.offset()}".encode()
            producer.produce(events, body, b"key", headers=[*headers, ("ce_id", place), ("ce_time", stamp.header)])
            offsets[message.partition()] = message
        producer.poll(0)
        done += len(messages)
        open_ += len(messages)
        if open_ >= TRANSACTION or done >= count or time.monotonic() - begun >= TRANSACTION_SECONDS:
            reached = [TopicPartition(topic, number, last.offset() + 1) for number, last in offsets.items()]
            producer.send_offsets_to_transaction(reached, consumer.consumer_group_metadata())
            producer.commit_transaction()
            open_ = 0
    if health is not None:
        report(health.result(done))
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
