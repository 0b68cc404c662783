"""Unreadable records: an error that returns at the same offset, whatever its code. Pure: time is an argument.

librdkafka fetches such a batch again without end: one that it cannot unpack (its issue 5260), that has a wrong
checksum, or a format that it does not support.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from exporter.model import Partition

# An error is persistent after this many failures over this time.
LEAST_TRIES = 5
LEAST_SECONDS = 3.0
# After this many consecutive processes that started at a position and read nothing, child processes read it.
LEAST_STARTS = 3


class Gap(NamedTuple):
    """Unreadable offsets, from `first` to before `end`."""

    first: int
    end: int


class FailedOffset(NamedTuple):
    """An offset that cannot be read, since when (seconds of a monotonic clock), and how often it was tried."""

    offset: int
    error: str
    since: float
    tries: int


class FailedOffsets:
    """The failed offset of each partition that has one."""

    def __init__(self) -> None:
        self._failed: dict[Partition, FailedOffset] = {}

    def __bool__(self) -> bool:
        return bool(self._failed)

    def failed(self, partition: Partition, offset: int, error: str, now: float) -> bool:
        """Record an error at an offset, and return whether it is the first one there."""
        before = self._failed.get(partition)
        is_new = before is None or before.offset != offset
        since, tries = (now, 0) if before is None or is_new else (before.since, before.tries)
        self._failed[partition] = FailedOffset(offset, error, since, tries + 1)
        return is_new

    def passed(self, partitions: Iterable[Partition]) -> None:
        """Forget the failed offsets of partitions that were read on, or were released."""
        for partition in partitions:
            self._failed.pop(partition, None)

    def persistent(self, now: float) -> Mapping[Partition, FailedOffset]:
        """Return the failed offsets whose errors are persistent."""
        return {
            partition: place
            for partition, place in dict(self._failed).items()
            if place.tries >= LEAST_TRIES and now - place.since >= LEAST_SECONDS
        }

    def report(self, now: float) -> list[str]:
        """Return a line for each partition that is blocked by an unreadable record."""
        blocked = sorted(self.persistent(now).items()) if self._failed else []
        return [f"{partition} is blocked at offset {failed.offset}: {failed.error}" for partition, failed in blocked]


def readable_from(ask: Callable[[int], int | None], first: int, end: int, goes_on: Callable[[], bool]) -> int:
    """Return the first readable offset from `first` to `end`, or the offset up to which none is readable.

    `ask` returns the first offset of the unreadable batch that contains an offset, or None when it is readable; the
    client does not report where that batch ends. Each skipped offset was either asked or lies within such a batch.
    Where a client names the offset itself in place of the batch's, each is asked. The search ends when `goes_on`
    returns False.
    """
    here = first
    while here < end and goes_on() and (base := ask(here)) is not None:
        here = _end_of_batch(ask, here, base, end)
    return here


def _end_of_batch(ask: Callable[[int], int | None], inside: int, base: int, end: int) -> int:
    step = 1
    while (outside := min(inside + step, end)) < end and ask(outside) == base:
        inside, step = outside, step * 2
    while outside - inside > 1:
        middle = (inside + outside) // 2
        if ask(middle) == base:
            inside = middle
        else:
            outside = middle
    return outside
