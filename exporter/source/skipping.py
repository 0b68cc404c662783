"""Reading on after records that cannot be read, or that end the process."""

from __future__ import annotations

import time

from confluent_kafka import TopicPartition

from exporter.kafka.gap_search import GapSearch
from exporter.kafka.unreadable import Gap
from exporter.model import Partition, Record
from exporter.runtime import logs
from exporter.source.handler import RebalanceHandler
from exporter.source.intake import Intake
from exporter.source.isolation import Found, Isolation
from exporter.source.membership import Membership

log = logs.logger("source")


class SkippingMember(Membership):
    """A member that skips unreadable and deadly records if `skips`, or else stays before them. Loop thread only."""

    def __init__(self, isolation: Isolation, gaps: GapSearch, *, skips: bool) -> None:
        super().__init__(isolation)
        self._handler: RebalanceHandler
        self._intake = Intake()
        self._gaps = gaps
        self._skips = skips

    @property
    def blocked(self) -> list[str]:
        """A line for each partition that is blocked by an unreadable record; from any thread."""
        return self._gaps.report(time.monotonic()) + self._isolation.report()

    def _skip_unreadable(self) -> None:
        """Skip unreadable records once a search has found their end."""
        found = self._gaps.search(time.monotonic())
        if found is None:
            return
        partition, gap, error = found
        self._handler.unreadable(partition, gap, error)
        self._intake.drop({partition})
        self._consumer.incremental_unassign([TopicPartition(*partition)])
        self._consumer.incremental_assign([TopicPartition(*partition, gap.end)])

    def _isolated_records(self) -> list[Record]:
        """Return the records that child processes have read; where they have finished, the consumer reads on."""
        records, finished = self._isolation.take(time.monotonic())
        if finished is not None:
            self._read_on(*finished)
        return records

    def _read_on(self, partition: Partition, found: Found) -> None:
        """Let the consumer read a partition again after its deadly records; or hold it before them."""
        if found.end == found.first:
            log.warning(
                "child processes survived all records of the partition, it is read as usual again",
                extra={"partition": str(partition), "offset": found.end},
            )
        elif self._skips:
            self._handler.unreadable(partition, Gap(found.first, found.end), found.error, is_deadly=True)
        else:
            if partition not in self._isolation:
                self._handler.held(partition, found.first, found.error)
            self._isolation.hold(partition, found, time.monotonic())
            return
        self._isolation.drop([partition])
        self._consumer.incremental_assign([TopicPartition(*partition, found.end)])
