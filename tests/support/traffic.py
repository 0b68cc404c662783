"""Batches of known content, and what became of them."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from exporter.model import FeedKey
from tests.support.background import repeating
from tests.support.cluster import Cluster, Record

FEEDS = tuple(FeedKey("korea", f"exchange{number}", "ticker") for number in range(8))
# This one comes over all partitions, each of the others over one.
SPREAD = FeedKey("korea", "spread", "ticker")
FIRST_STAMP_MS = 1_760_031_213_000
WRITE_RECORDS = 100


class Batch(NamedTuple):
    """What is to be told of one batch; `id` is the place of its record."""

    id: str
    feed: FeedKey
    size: int
    symbols: int
    stamp_ms: int


class Traffic:
    """Writes batches into a topic, and remembers what it wrote."""

    def __init__(self, cluster: Cluster, topic: str, partitions: int) -> None:
        self.topic = topic
        self.batches: list[Batch] = []
        self.clocks: Sequence[int] = ()  # what collectors' clocks show, in turn, when they are wrong
        self._cluster = cluster
        self._partitions = partitions
        self._number = 0

    def write(self, count: int) -> None:
        """Write so many batches, of all feeds in turn."""
        made = [self._next() for _ in range(count)]
        written = self._cluster.produce(self.topic, [record for _, record in made])
        for (batch, _), record in zip(made, written, strict=True):
            self.batches.append(batch._replace(id=f"{self.topic}/{record.partition}/{record.offset}"))

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Batches keep coming within this, a thousand or so a second."""
        with repeating(lambda: self.write(WRITE_RECORDS)):
            yield

    def ends(self) -> dict[int, int]:
        """The offset after the last record of each partition that has records."""
        ends: dict[int, int] = defaultdict(int)
        for batch in self.batches:
            _, partition, offset = batch.id.rsplit("/", 2)
            ends[int(partition)] = max(ends[int(partition)], int(offset) + 1)
        return dict(ends)

    def _next(self) -> tuple[Batch, Record]:
        number, self._number = self._number, self._number + 1
        index = number % (len(FEEDS) + 1)
        feed = FEEDS[index] if index < len(FEEDS) else SPREAD
        place = index if feed is not SPREAD else number // (len(FEEDS) + 1)
        size = 1 + number % 7
        wrong = self.clocks[number % len(self.clocks)] if self.clocks else None
        stamp_ms = FIRST_STAMP_MS + number if wrong is None else max(wrong, 0)  # a batch before 1970 is rejected
        batch = Batch("", feed, size, min(size, 3), stamp_ms)
        return batch, Record(_value(batch), str(feed).encode(), {}, wrong or 0, partition=place % self._partitions)


def _value(batch: Batch) -> bytes:
    rows = [
        {"target_currency": f"KRW-{row % batch.symbols}", "timestamp": batch.stamp_ms - 5} for row in range(batch.size)
    ]
    value = {**batch.feed._asdict(), "timestamp_ms": batch.stamp_ms, "batch_size": batch.size, "data": rows}
    return json.dumps(value).encode()


def read_json(event: Record) -> Mapping[str, Any]:
    """What an event says when `output.encoding` is json."""
    value: Mapping[str, Any] = json.loads(event.value)
    return value


class Told:
    """What the event topic says: events of batches in the order in which they lie there, and totals of summaries."""

    def __init__(self, events: Iterable[Record], read: Callable[[Record], Mapping[str, Any]] = read_json) -> None:
        self.batches: list[Batch] = []
        self.summaries: dict[FeedKey, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for event in events:
            self._read(read(event), event.headers["ce_id"].decode())

    def _read(self, value: Mapping[str, Any], identity: str) -> None:
        feed = FeedKey(*(str(value[name]) for name in FeedKey._fields))
        if isinstance(stats := value.get("stats"), dict):
            told = (stats["batch_size"], stats["unique_symbols"], stats["collection_timestamp_ms"])
            self.batches.append(Batch(identity, feed, *told))
        elif isinstance(stats := value["aggregated_stats"], dict):
            batches, messages = self.summaries[feed]
            self.summaries[feed] = (batches + stats["total_batches"], messages + stats["total_messages"])


def totals(batches: Iterable[Batch]) -> dict[FeedKey, tuple[int, int]]:
    """How many batches each feed has, and how many messages they have."""
    found: dict[FeedKey, tuple[int, int]] = {}
    for batch in batches:
        number, messages = found.get(batch.feed, (0, 0))
        found[batch.feed] = (number + 1, messages + batch.size)
    return found


def missing(told: Iterable[Batch], written: Iterable[Batch]) -> Counter[Batch]:
    """The batches of which nothing right is told."""
    return Counter(written) - Counter(told)


def surplus(told: Iterable[Batch], written: Iterable[Batch]) -> Counter[Batch]:
    """What is told twice, or of no batch."""
    return Counter(told) - Counter(written)


def disordered(told: Iterable[Batch]) -> list[Batch]:
    """What is told of a batch after something was told of a later one of the same feed and partition."""
    last: dict[tuple[FeedKey, str], int] = {}
    found: list[Batch] = []
    for batch in told:
        place, _, offset = batch.id.rpartition("/")
        if int(offset) < last.get((batch.feed, place), -1):
            found.append(batch)
        last[batch.feed, place] = int(offset)
    return found
