"""The way of news about risk to their topic."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from exporter.model import Partition
from exporter.risk.engine import News
from exporter.risk.guard import PortfolioState

# What changes when the published states may be others than those that are known here.
Generation = tuple[int, ...]


class Outbox(Protocol):
    """The way of news to the topic of risk events, exactly once, as far as the configured delivery allows."""

    def settled(self, known: Generation | None) -> Generation | None:
        """Return the present assignment if it is the one that is known, or nothing of earlier news waits; else None."""

    def states(self, names: Collection[str]) -> dict[str, PortfolioState]:
        """Return the published states of portfolios; raise `StateError`."""

    def publish(
        self,
        news: Sequence[News],
        states: Mapping[str, PortfolioState],
        partitions: Collection[Partition],
        generation: Generation,
    ) -> bool:
        """Publish news with the positions of the partitions that they come from, and the states after them.

        Returns False without publishing anything if the assignment is another one by now.
        """

    def has_committed_lifts(self, generation: Generation) -> bool | None:
        """Return whether all lifts that were published with an assignment are committed; None while some wait.

        False means that the assignment is another one by now; the published states have the result.
        """


class NoOutbox:
    """Publishes nothing, so that nothing is known of a predecessor."""

    def settled(self, known: Generation | None) -> Generation:
        """See Outbox."""
        return ()

    def states(self, names: Collection[str]) -> dict[str, PortfolioState]:
        """See Outbox."""
        return {}

    def publish(
        self,
        news: Sequence[News],
        states: Mapping[str, PortfolioState],
        partitions: Collection[Partition],
        generation: Generation,
    ) -> bool:
        """See Outbox."""
        return True

    def has_committed_lifts(self, generation: Generation) -> bool:
        """See Outbox."""
        return True
