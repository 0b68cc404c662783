"""What the publisher wants of a channel, and how a seal may end: by what is to be done next, not by what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import ClassVar, Protocol

from exporter.events.factory import Event
from exporter.kafka.positions import Position
from exporter.model import Partition


class CommitState(Enum):
    """What became of a transaction. UNCLEAR: the group's offsets, which are part of it, tell."""

    COMMITTED = auto()
    ABORTED = auto()
    UNCLEAR = auto()


class Cause(StrEnum):
    """Why nothing was published, by what helps; reasons of `marketdata_consumer_commit_failures_total`."""

    ABORTED = "aborted"  # offering it again
    NOT_OPEN = "not_open"  # opening the channel again
    FENCED = "fenced"  # a name of our own: somebody else publishes under ours
    DENIED = "denied"  # somebody who allows it
    TOO_LARGE = "too_large"  # giving up what the broker refuses


@dataclass(frozen=True)
class CommitResult:
    """How a seal ended; if it did not commit, why, what Kafka said, and which events can never be sent."""

    ending: CommitState
    cause: Cause = Cause.ABORTED
    trouble: str = ""
    refused: tuple[Event, ...] = ()

    COMMITTED: ClassVar[CommitResult]
    ABORTED: ClassVar[CommitResult]
    UNCLEAR: ClassVar[CommitResult]


CommitResult.COMMITTED, CommitResult.ABORTED, CommitResult.UNCLEAR = map(CommitResult, CommitState)


class ChannelError(Exception):
    """The channel cannot be used any more and is to be opened again; nothing since the last seal was published."""

    def __init__(self, trouble: str, cause: Cause = Cause.NOT_OPEN) -> None:
        super().__init__(trouble)
        self.cause = cause


class Channel(Protocol):
    """How events reach Kafka together with the positions they bring.

    `open` and `seal` may block and run on the worker's thread, as does `close`; the rest is quick and runs on the
    loop thread.
    """

    alive_at: float
    """When a blocking call last began or returned, on the monotonic clock."""

    def open(self) -> None:
        """Make ready, or raise `ChannelError`; what an earlier process left open is ended by this.

        Any other error is a mistake in the configuration that trying again cannot mend.
        """

    def begin(self) -> None:
        """Start what the next seal will end, or raise `ChannelError`."""

    def send(self, events: list[Event], start: int) -> tuple[int, list[Event]]:
        """Send events from index `start` on; return how far it came, and those that can never be sent."""

    def seal(self, positions: Mapping[Partition, Position], group: object, commit: bool) -> CommitResult:
        """Make all that was sent since `begin` visible with the positions, or (`commit` false) undo it.

        A channel that cannot be used any more says so at the next `begin`.
        """

    def committed(self, positions: Mapping[Partition, Position]) -> None:
        """Learn that a seal has brought these positions."""

    def close(self) -> None:
        """Let go of what is held."""
