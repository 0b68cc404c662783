"""Batches that Kafka's client cannot unpack."""

from collections.abc import Sequence

from confluent_kafka import Producer

from tests.support.cluster import Cluster

# With these a batch that inflates to more than 1 MB cannot be unpacked; by default it is 100 MB.
SMALL_BUFFER = {
    "message.max.bytes": "100000",
    "fetch.max.bytes": "1000000",
    "receive.message.max.bytes": "1000512",
}
RECORD_BYTES = 100_000
LEAST_RECORDS = 20
_ONE_BATCH = {
    "compression.type": "zstd",
    "linger.ms": 60_000,
    "batch.size": 100_000_000,
    "batch.num.messages": 100_000,
    "message.max.bytes": 100_000_000,
}


def write_unreadable(cluster: Cluster, topic: str, values: Sequence[bytes], partition: int = 0) -> None:
    """Append one batch of these values, made longer by spaces, which no client with `SMALL_BUFFER` can unpack."""
    assert len(values) >= LEAST_RECORDS
    producer = Producer({"bootstrap.servers": cluster.bootstrap, **_ONE_BATCH})
    for value in values:
        producer.produce(topic, value.ljust(RECORD_BYTES), partition=partition)
    assert producer.flush(30) == 0
