"""Input that is small where it lies and large once it is unpacked, and a sidecar that may take only so much memory."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from confluent_kafka import Producer

from tests.support.cluster import Cluster
from tests.support.sidecar import Sidecar

STAMP_MS = 1_760_031_213_693
ROWS = 10_000
BOOK_BYTES = 1024**2
# What the compose file and the manifests allow.
LIMIT_BYTES = 512 * 1024**2
# An unpacked record may be as large as librdkafka allows a message to be.
LARGEST_MESSAGE = 1_000_000_000
PACKED_TOGETHER = 100_000_000
# As long as a name may be, of characters that take four bytes each.
WIDE = "\U00020000" * 50
WRITTEN_SECONDS = 120.0


class LimitedSidecar(Sidecar):
    """A sidecar whose data (RLIMIT_DATA: heap, stacks and private mappings, used or not) may have 512 MiB."""

    def __init__(self, directory: Path, settings: Mapping[str, object], limit_bytes: int = LIMIT_BYTES) -> None:
        super().__init__(directory, settings)
        self._limit_bytes = limit_bytes

    def command(self) -> list[str]:
        """See Part."""
        return ["prlimit", f"--data={self._limit_bytes}", "--core=0", "--", *super().command()]


def batches_of_many_rows(number: int) -> Iterator[bytes]:
    """Yield so many batches of as many rows as there may be: 240 kB, packed a thousandth, decoded ten times that."""
    rows = ",".join(['{"target_currency":"A"}'] * ROWS)
    for index in range(number):
        yield _batch("ticker", index, rows)


def large_books(number: int) -> Iterator[bytes]:
    """Yield so many order books of almost a MiB, made of numbers of thousands of digits: packed a thousandth."""
    level = f'["{"1" * 5000}","{"2" * 5000}"]'
    side = ",".join([level] * (BOOK_BYTES // len(level) // 2))
    for index in range(number):
        yield _batch("orderbook", index, f'{{"target_currency":"KRW-BTC","asks":[{side}],"bids":[{side}]}}')


def invented_names(number: int) -> Iterator[bytes]:
    """Yield so many batches, each of another feed, with symbols of its own that take much memory."""
    for index in range(number):
        rows = ",".join(f'{{"target_currency":"{index}-{row}{WIDE}","last":1.5}}' for row in range(50))
        yield _batch("ticker", index, rows).replace(b"upbit", b"upbit%d" % index)


def new_symbols(number: int) -> Iterator[bytes]:
    """Yield so many batches of one feed, of as many rows as there may be, each of a symbol that was never seen."""
    for index in range(number):
        yield _batch(
            "ticker", index, ",".join(f'{{"target_currency":"{index}-{row}","last":1.5}}' for row in range(ROWS))
        )


def one_record(size: int) -> Iterator[bytes]:
    """Yield one record of so many bytes that all are the same: packed a thousandth."""
    yield b" " * size


def write(
    cluster: Cluster, topic: str, values: Iterable[bytes], partition: int = -1, together: int = PACKED_TOGETHER
) -> None:
    """Write records of any size, packed by gzip, so many bytes in one batch."""
    settings = {"message.max.bytes": LARGEST_MESSAGE, "batch.size": together, "compression.type": "gzip"}
    settings |= {"linger.ms": 1000}
    producer = Producer({"bootstrap.servers": cluster.bootstrap, **settings})
    for value in values:
        producer.produce(topic, value, partition=partition)
        producer.poll(0)
    assert producer.flush(WRITTEN_SECONDS) == 0


def _batch(request_type: str, index: int, rows: str) -> bytes:
    head = f'"region":"korea","exchange":"upbit","request_type":"{request_type}","timestamp_ms":{STAMP_MS + index}'
    return f'{{{head},"data":[{rows}]}}'.encode()
