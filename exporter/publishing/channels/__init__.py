"""The protocol of a channel to Kafka, and the results of a commit, grouped by what has to be done next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import ClassVar, Protocol

from exporter.events.factory import Event
from exporter.kafka.positions import Position
from exporter.model import Partition


class CommitState(Enum):
    """Final state of a transaction. UNCLEAR: the committed offsets of the group, which are part of it, show which."""

    COMMITTED = auto()
    ABORTED = auto()
    UNCLEAR = auto()


class Cause(StrEnum):
    """Why nothing was published, by what helps; reasons of `marketdata_consumer_commit_failures_total`."""

    ABORTED = "aborted"  # sending the same again
    NOT_OPEN = "not_open"  # opening the channel again
    FENCED = "fenced"  # an `instance` of its own: another process publishes under the same one
    DENIED = "denied"  # granting the permission, by an operator
    TOO_LARGE = "too_large"  # dropping the events that the broker refuses


@dataclass(frozen=True)
class CommitResult:
    """Result of a commit or an abort; unless committed: the cause, Kafka's error text, and the unsendable events."""

    state: CommitState
    cause: Cause = Cause.ABORTED
    error: str = ""
    unsendable: tuple[Event, ...] = ()

    COMMITTED: ClassVar[CommitResult]
    ABORTED: ClassVar[CommitResult]
    UNCLEAR: ClassVar[CommitResult]


CommitResult.COMMITTED, CommitResult.ABORTED, CommitResult.UNCLEAR = map(CommitResult, CommitState)


class ChannelError(Exception):
    """The channel is unusable and must be opened again; nothing sent since the last commit was published."""

    def __init__(self, error: str, cause: Cause = Cause.NOT_OPEN) -> None:
        super().__init__(error)
        self.cause = cause


class Channel(Protocol):
    """Publishes events to Kafka together with the input positions that they cover.

    `open`, `commit`, `abort` and `close` may block and run on the worker's thread; the other methods are quick and run
    on the loop thread.
    """

    alive_at: float
    """When a blocking call last began or returned, in seconds of the monotonic clock."""

    def open(self) -> None:
        """Open the channel, and end what an earlier process left open; raise `ChannelError`.

        Any other error is a mistake in the configuration that another attempt cannot correct.
        """

    def begin(self) -> None:
        """Begin a transaction, which the next `commit` or `abort` ends; raise `ChannelError`."""

    def send(self, events: list[Event], start: int) -> tuple[int, list[Event]]:
        """Send events from index `start` on; return the index of the first event not sent, and the unsendable ones."""

    def commit(self, positions: Mapping[Partition, Position], group: object) -> CommitResult:
        """Publish all that was sent since `begin`, together with the positions; errors are part of the result.

        If the channel became unusable, the next `begin` raises.
        """

    def abort(self) -> CommitResult:
        """Discard what was sent since `begin`; otherwise as `commit`."""

    def store_offsets(self, positions: Mapping[Partition, Position]) -> None:
        """Store committed positions as the consumer's offsets, unless the commit itself did."""

    def close(self) -> None:
        """Release the producer."""
