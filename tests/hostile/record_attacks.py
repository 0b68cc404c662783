"""Attacks by records."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import cycle, islice

from tests.bench import hostile
from tests.hostile.attack import UNREAD, Attack, Target, named
from tests.hostile.stage import PARTITIONS
from tests.support.cluster import Cluster
from tests.support.memory_spikes import batches_of_many_rows, invented_names, large_books, new_symbols, write
from tests.support.poison import CORPUS
from tests.support.unreadable import LEAST_RECORDS, SMALL_BUFFER, write_unreadable

WITHOUT_END = 1_000_000
TOGETHER = 40
BROKEN = hostile.rows('{"target_currency":"A","last":true}')


def books_of_long_digits(target: Target, until: float) -> None:
    """Order books of 1 MiB, of numbers of thousands of digits."""
    _write(target, until, large_books(WITHOUT_END))


def expensive_texts(target: Target, until: float) -> None:
    """Records of 1 MiB, each as expensive to read as its kind can be: subnormals, digits, brackets, escapes, levels."""
    _write(target, until, cycle(hostile.texts().values()))


def batches_of_10000_rows(target: Target, until: float) -> None:
    """Packed a thousandfold."""
    _write(target, until, batches_of_many_rows(WITHOUT_END))


def broken_fields(target: Target, until: float) -> None:
    """Small records with one field each that cannot be read."""
    _write(target, until, cycle([BROKEN]), together=5000)


def poison(target: Target, until: float) -> None:
    """Records as nobody should write them, of all kinds."""
    _write(target, until, cycle([one.value for one in CORPUS if one.value]), together=len(CORPUS))


def invented_feeds(target: Target, until: float) -> None:
    """A feed that was never seen in each record, with symbols of its own."""
    _write(target, until, invented_names(WITHOUT_END), together=500)


def symbols_never_seen(target: Target, until: float) -> None:
    """One in each of 10,000 rows."""
    _write(target, until, new_symbols(WITHOUT_END))


def batches_beyond_unpacking(target: Target, until: float) -> None:
    """Batches that the client cannot unpack, and some that it can between them."""
    cluster = Cluster(target.bootstrap)
    for partition in cycle(range(PARTITIONS)):
        if time.monotonic() > until:
            return
        write_unreadable(cluster, target.topic, [BROKEN] * LEAST_RECORDS, partition)
        write(cluster, target.topic, [BROKEN])


ATTACKS = named((
    books_of_long_digits, batches_of_10000_rows, broken_fields, poison, invented_feeds, symbols_never_seen,
)) | {
    # As the compose file and the manifests have them, where the memory is 512 MB.
    "invented feeds, limits as shipped": Attack(
        invented_feeds, settings={"input.limits": {"feeds": 2000, "symbols": 100_000}}
    ),
    "expensive texts": Attack(expensive_texts, settings={"input.limits.record_bytes": 2 * hostile.SIZE}),
    "batches beyond unpacking": Attack(
        batches_beyond_unpacking, settings={"kafka.consumer_properties": SMALL_BUFFER}
    ),
    "broken fields, stderr unread": Attack(
        broken_fields, UNREAD, {"log.level": "debug", "kafka.properties": {"debug": "all"}}
    ),
}  # fmt: skip


def _write(target: Target, until: float, values: Iterator[bytes], together: int = TOGETHER) -> None:
    """Write so many at a time, until the moment."""
    while time.monotonic() < until:
        write(Cluster(target.bootstrap), target.topic, islice(values, together))
