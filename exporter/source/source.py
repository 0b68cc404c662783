"""The interface of a source of records; `exporter.source.consumer.KafkaSource` implements it in production."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from exporter.model import Partition, Record
from exporter.source.handler import RebalanceHandler


class Source(Protocol):
    """A member of a consumer group. `is_empty`: no topic matched at the time of subscribing."""

    paused: bool
    subscribed: bool
    is_empty: bool

    @property
    def is_reachable(self) -> bool:
        """Whether any broker responds."""

    @property
    def is_sole_reader(self) -> bool:
        """Whether all partitions that existed at the start are assigned to this member."""

    @property
    def last_error(self) -> str:
        """The reason why nothing is read; empty when none is known."""

    @property
    def is_refused(self) -> bool:
        """Whether brokers respond with a refusal."""

    @property
    def blocked(self) -> list[str]:
        """A line for each partition that is blocked by an unreadable record."""

    def open(self, handler: RebalanceHandler) -> None:
        """Start; the handler is notified of assigned and revoked partitions, inside `take` and `close`."""

    def take(self, seconds: float) -> list[Record]:
        """Return the next records; wait up to `seconds` for the first."""

    def pause(self) -> None:
        """Stop fetching."""

    def resume(self) -> None:
        """Continue fetching."""

    def high_watermarks(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the end offsets as last fetched; 0 or less, or absent, while unknown."""

    def close(self, seconds: float) -> bool:
        """Leave the group; return whether it was left within `seconds`."""
