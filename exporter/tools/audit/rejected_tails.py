"""Finds partitions whose last records are all rejected: the sign of a wrong format. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.feeds.rejections import Rejections
from exporter.model import Partition, Rejected

# The least number of rejected records; fewer are reported only where no record is valid.
LEAST = 10


class RejectedTails:
    """The rejected records at the end of each partition; records are added in the order of offsets."""

    def __init__(self) -> None:
        self._rejected: dict[Partition, Rejections] = {}
        self._valid: set[Partition] = set()

    def reject(self, rejected: Rejected, place: Partition, offset: int) -> None:
        """Add a rejected record."""
        self._rejected.setdefault(place, Rejections()).add(rejected, place, offset, 0)

    def accept(self, place: Partition) -> None:
        """Add a valid batch."""
        self._rejected.pop(place, None)
        self._valid.add(place)

    def all_rejected(self) -> Iterator[tuple[Partition, Rejections]]:
        """Yield the partitions that end with rejected records only, and those records."""
        for place, run in sorted(self._rejected.items(), key=lambda item: item[0]):
            if run.total >= LEAST or place not in self._valid:
                yield place, run
