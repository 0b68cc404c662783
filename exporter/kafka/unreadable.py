"""Places in a partition that cannot be read: an error that comes back at the same offset. Pure: time is an argument.

librdkafka asks for such a place again and again, for ever: a batch that it cannot unpack (its issue 5260), with a wrong
checksum, in a format that it does not know. The kind is the return of the error, whatever its code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from exporter.model import Partition

# An error that has come back so often, over so long, is no accident.
LEAST_TRIES = 5
LEAST_SECONDS = 3.0
# So many processes began to read at a position, one after another, and came no further: the next one is careful.
LEAST_STARTS = 3


class Gap(NamedTuple):
    """The offsets from `first` to before `end`, of which none can be read."""

    first: int
    end: int


class Place(NamedTuple):
    """Where an error was met, since when, and how often; seconds of a monotonic clock."""

    offset: int
    error: str
    since: float
    tries: int


class Places:
    """The place of each partition at which it stands, if it does."""

    def __init__(self) -> None:
        self._places: dict[Partition, Place] = {}

    def __bool__(self) -> bool:
        return bool(self._places)

    def failed(self, partition: Partition, offset: int, error: str, now: float) -> bool:
        """Note an error at an offset, and return whether it is the first one there."""
        before = self._places.get(partition)
        is_new = before is None or before.offset != offset
        since, tries = (now, 0) if before is None or is_new else (before.since, before.tries)
        self._places[partition] = Place(offset, error, since, tries + 1)
        return is_new

    def passed(self, partitions: Iterable[Partition]) -> None:
        """Forget the places of partitions of which records were read, or which are not ours any more."""
        for partition in partitions:
            self._places.pop(partition, None)

    def standing(self, now: float) -> Mapping[Partition, Place]:
        """Return the places at which the error came back so often that it is no accident."""
        return {
            partition: place
            for partition, place in dict(self._places).items()
            if place.tries >= LEAST_TRIES and now - place.since >= LEAST_SECONDS
        }

    def told(self, now: float) -> list[str]:
        """Return a line for each partition that stands."""
        standing = sorted(self.standing(now).items()) if self._places else []
        return [f"{partition} stands at offset {place.offset}: {place.error}" for partition, place in standing]


def readable_from(ask: Callable[[int], int | None], first: int, end: int, goes_on: Callable[[], bool]) -> int:
    """Return the first offset from `first` to `end` that can be read, or how far it is known that none can.

    `ask` tells of an offset where the unreadable batch begins that holds it, or None when it can be read; the client
    does not tell where that batch ends. No offset is passed that was neither asked nor lies within such a batch. Where
    a client names the offset itself in place of the batch's, each is asked.
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
