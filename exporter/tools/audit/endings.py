"""Partitions whose last records are all rejected: a wrong format rather than a few bad records. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.feeds.rejections import Rejections
from exporter.model import Partition, Rejected

# So many in a row are no accident; fewer are told of only where there is nothing else.
LEAST = 10


class Endings:
    """Takes the records of partitions in the order of their offsets."""

    def __init__(self) -> None:
        self._rejected: dict[Partition, Rejections] = {}
        self._valid: set[Partition] = set()

    def reject(self, rejected: Rejected, place: Partition, offset: int) -> None:
        """Add a record that is no valid batch."""
        self._rejected.setdefault(place, Rejections()).add(rejected, place, offset, 0)

    def accept(self, place: Partition) -> None:
        """Add a record that is a valid batch."""
        self._rejected.pop(place, None)
        self._valid.add(place)

    def all_rejected(self) -> Iterator[tuple[Partition, Rejections]]:
        """Yield the partitions that end with nothing but rejected records, and what these are."""
        for place, run in sorted(self._rejected.items(), key=lambda item: item[0]):
            if run.total >= LEAST or place not in self._valid:
                yield place, run
