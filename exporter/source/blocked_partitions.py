"""Partitions whose next record cannot be read, ends the process, or cannot be decoded yet: how reading goes on."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import TopicPartition

from exporter.kafka.gap_search import GapSearch
from exporter.kafka.unreadable import Gap
from exporter.model import Partition, Record
from exporter.runtime import logs
from exporter.source.handler import RebalanceHandler
from exporter.source.held import Hold, changes
from exporter.source.intake import Intake
from exporter.source.isolation import Found, Isolation
from exporter.source.membership import Membership

log = logs.logger("source")


class UnblockingMember(Membership):
    """A member that reads on in blocked partitions. Loop thread only.

    Unreadable and deadly records are skipped if `skips`; otherwise it stays before them. Those that cannot be decoded
    yet wait in `hold`.
    """

    def __init__(self, isolation: Isolation, gaps: GapSearch, hold: Hold, *, skips: bool) -> None:
        super().__init__(isolation)
        self._handler: RebalanceHandler
        self._intake = Intake()
        self._gaps = gaps
        self._skips = skips
        self._hold = hold
        self._stopped: frozenset[Partition] = frozenset()  # those of which nothing is fetched while they wait

    @property
    def blocked(self) -> list[str]:
        """A line for each partition whose next record cannot be read, or not decoded yet; from any thread."""
        return self._gaps.report(time.monotonic()) + self._isolation.report() + self._hold.reasons()

    def resume(self) -> None:
        """Fetch again; partitions that wait are stopped by the next call of `_released`."""
        super().resume()
        self._stopped = frozenset()

    def _released(self, messages: list[Any], reading: Iterable[Partition]) -> list[Any]:
        """Return the messages that can be decoded; stop fetching what waits, and go on with what does not any more."""
        released = self._hold.release(messages)
        if self._stopped != self._hold.partitions:
            stop, go = changes(self._stopped, self._hold.partitions)
            if stop:
                reasons = "; ".join(self._hold.reasons())
                log.info("partitions wait for what their records need", extra={"reasons": reasons})
            by_consumer = self._read_by_consumer(reading)
            self._consumer.pause([tp for tp in by_consumer if (tp.topic, tp.partition) in stop])
            self._consumer.resume([tp for tp in by_consumer if (tp.topic, tp.partition) in go])
            self._stopped = self._hold.partitions
        return released

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
