"""Turns of requests in the event loop, so that its passes stay short. For one event loop."""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count


class Turns:
    """At most `limit` turns at a time; the connection whose last response is longest ago has the next one.

    Clients that request again and again on connections that last therefore do not delay those that request rarely.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._numbers = count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    async def take(self, served_at: float) -> None:
        """Wait for a turn; `served_at` is when the last response of the connection ended, in seconds of any clock."""
        if self._free:
            self._free -= 1
        else:
            await self._next(served_at)
        try:
            await asyncio.sleep(0)
        finally:
            self._pass_on()

    async def _next(self, served_at: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (served_at, next(self._numbers), turn))
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
