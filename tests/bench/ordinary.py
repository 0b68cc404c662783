"""An ordinary good Python loop: orjson, `labels()` on each update, fastavro, flush and commit."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

import fastavro
import orjson
from confluent_kafka import Consumer, Producer
from prometheus_client import CollectorRegistry, Counter, Histogram

from exporter.events.encoding import utc_text
from exporter.events.values import batch_value, load_schema
from exporter.feeds.feed import COUNT_BOUNDS, EFFICIENCY_BOUNDS
from exporter.model import BatchResult, EventType, FeedKey
from tests.bench.result import Stopwatch, report


def main(bootstrap: str, topic: str, count: int, warm: int, events: str) -> None:
    """Process `count` batches of a topic, write to `events`, and report what those after the first `warm` cost."""
    registry = CollectorRegistry()
    labels = FeedKey._fields
    batches = Counter("batches", "-", labels, registry=registry)
    messages_total = Counter("messages", "-", labels, registry=registry)
    sizes = Histogram("size", "-", labels, buckets=COUNT_BOUNDS, registry=registry)
    uniques = Histogram("unique", "-", labels, buckets=COUNT_BOUNDS, registry=registry)
    efficiencies = Histogram("efficiency", "-", labels, buckets=EFFICIENCY_BOUNDS, registry=registry)
    schema = fastavro.parse_schema(load_schema(EventType.BATCH))
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": f"ordinary-{topic}", "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "fetch.queue.backoff.ms": 10, "session.timeout.ms": 6000,
    })  # fmt: skip
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": "lz4"})
    consumer.subscribe([topic])
    done, health = 0, None
    while done < count:
        messages: list[Any] = consumer.consume(1000, 0.1)
        if not messages:
            continue
        if health is None and done >= warm:
            health = Stopwatch(done)
        for message in messages:
            value = orjson.loads(message.value())
            feed = FeedKey(value["region"], value["exchange"], value["request_type"])
            size = len(value["data"])
            unique = len({row["target_currency"] for row in value["data"]})
            efficiency = 1 / unique if unique else 0.0
            batches.labels(*feed).inc()
            messages_total.labels(*feed).inc(size)
            sizes.labels(*feed).observe(size)
            uniques.labels(*feed).observe(unique)
            efficiencies.labels(*feed).observe(efficiency)
            out = BytesIO()
            result = BatchResult(size, unique, efficiency, value["timestamp_ms"])
            fastavro.schemaless_writer(out, schema, batch_value(feed, result, utc_text(value["timestamp_ms"])))
            headers: list[tuple[str, Any]] = [("ce_id", f"{topic}/{message.partition()}/{message.offset()}".encode())]
            producer.produce(events, out.getvalue(), str(feed), headers=headers)
        producer.flush()
        consumer.commit(asynchronous=False)
        done += len(messages)
    if health is not None:
        report(health.result(done))
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
