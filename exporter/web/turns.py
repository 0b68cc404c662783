"""Turns of requests in the event loop, so that its passes stay short. For one event loop."""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count

# Before all connections that were never served, which have 0.
_BEGUN = -1.0


class Turns:
    """At most `limit` turns at a time: for responses of which most was sent, then for connections served longest ago.

    Clients that do not read never have much of a response, and the rest of one does not wait for requests that arrive
    meanwhile. Clients that request again and again on connections that last do not delay those that request rarely.
    Of connections that were never served, requests unlike the others come first: all places may be taken by a flood.
    """

    def __init__(self, limit: int) -> None:
        self._free = self._limit = limit
        self._numbers = count()
        self._waiting: list[tuple[float, int, int, asyncio.Future[None]]] = []

    @property
    def is_crowded(self) -> bool:
        """Whether at least `limit` wait, without requests on connections that were served before."""
        return sum(rank <= 0 for rank, *_ in self._waiting) >= self._limit

    async def take(self, served_at: float, alike: int = 0) -> None:
        """Wait for a turn; `served_at` is when the last response of the connection ended, in seconds of any clock.

        Of equals, those come first that have fewer requests `alike`, in whatever measure.
        """
        await self._take(served_at, alike)

    async def go_on(self, sent: int) -> None:
        """Wait for a turn to send more of a response, of which `sent` pieces were sent."""
        await self._take(_BEGUN - sent)

    async def _take(self, rank: float, alike: int = 0) -> None:
        if self._free:
            self._free -= 1
        else:
            await self._next(rank, alike)
        try:
            await asyncio.sleep(0)
        finally:
            self._pass_on()

    async def _next(self, rank: float, alike: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (rank, alike, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came at the same time
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            turn = heappop(self._waiting)[-1]
            if not turn.done():
                return turn.set_result(None)
        self._free += 1
