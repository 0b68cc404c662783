"""Updates that Redis accepted a short while ago: a replica that becomes the master may not have them. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import NamedTuple

from exporter.model import Partition, SymbolUpdate
from exporter.store import keyspace

# A failover takes as long as Sentinels wait for the master, 30 s by default, and replicas lag by far less.
# Less than any TTL: an expired key is no lost one.
KEPT_SECONDS = 45.0
# A message takes 70 bytes: 7 MB.
KEPT_MESSAGES = 100_000
# The longest time without a success that counts: the updates do not age while Redis is away.
_STEP_SECONDS = 6.0


class _Chunk(NamedTuple):
    """Updates of one write, the fence after it, and when it was, see `Written.succeeded`."""

    updates: Sequence[SymbolUpdate]
    fence: int
    second: float

    @property
    def messages(self) -> int:
        """The number of messages in the updates."""
        return sum([len(update.symbols) for update in self.updates])


class Written:
    """The newest accepted updates of each partition, together at most `messages_max`."""

    def __init__(self, messages_max: int) -> None:
        self._messages_max = messages_max
        self._chunks: dict[Partition, deque[_Chunk]] = {}
        self._messages = 0
        self._second = self._success = 0.0

    def fence(self, partition: Partition) -> int:
        """Return the fence that Redis has for a partition, unless it lost updates; 0 if none are kept."""
        chunks = self._chunks.get(partition)
        return chunks[-1].fence if chunks else 0

    def add(self, partition: Partition, updates: Sequence[SymbolUpdate], fence: int) -> None:
        """Keep accepted updates of a partition, and the fence that Redis returned."""
        if updates and self._messages_max:
            self._append(partition, _Chunk(updates, fence, self._second))

    def take_from(self, partition: Partition, fence: int) -> list[SymbolUpdate]:
        """Remove and return the updates of a partition from a fence on, in order: Redis does not have them."""
        taken: list[SymbolUpdate] = []
        while self.fence(partition) > max(fence, 0):
            chunk = self._chunks[partition].pop()
            self._messages -= chunk.messages
            lost = keyspace.from_fence(list(chunk.updates), fence)
            taken = lost + taken
            if below := chunk.updates[: len(chunk.updates) - len(lost)]:
                self._append(partition, _Chunk(below, fence, chunk.second))
        self._drop_empty(partition)
        return taken

    def take_last(self, known: Collection[Partition]) -> list[SymbolUpdate]:
        """Remove and return the last update of each partition that is not `known`.

        Written again, it shows whether Redis has lost others.
        """
        idle = ((partition, chunks) for partition, chunks in self._chunks.items() if partition not in known)
        last = {partition: chunks[-1].updates[-1].offset for partition, chunks in idle}
        return [update for partition, offset in last.items() for update in self.take_from(partition, offset)]

    def succeeded(self, now_seconds: float) -> None:
        """Count the time since the previous success, and drop what is too old or too much."""
        self._second += min(now_seconds - self._success, _STEP_SECONDS)
        self._success = now_seconds
        for partition in list(self._chunks):
            while (chunks := self._chunks.get(partition)) and chunks[0].second < self._second - KEPT_SECONDS:
                self._drop_first(partition)
        while self._messages > self._messages_max:
            self._drop_first(min(self._chunks, key=lambda partition: self._chunks[partition][0].second))

    def _append(self, partition: Partition, chunk: _Chunk) -> None:
        self._chunks.setdefault(partition, deque()).append(chunk)
        self._messages += chunk.messages

    def _drop_first(self, partition: Partition) -> None:
        self._messages -= self._chunks[partition].popleft().messages
        self._drop_empty(partition)

    def _drop_empty(self, partition: Partition) -> None:
        if not self._chunks.get(partition, True):
            del self._chunks[partition]
