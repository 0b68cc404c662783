"""Who is answered next of those that have sent a request.

The newest comes first: in a flood most of the old ones are not there for the answer, and who has just come waits for
some milliseconds, however many wait already. These are kept, for who is closed may come again.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

RETRY_SECONDS = 0.01


class Admission:
    """Connections that wait for a place, at most `limit`: beyond that the oldest is closed.

    `has_room`, which may make room, and `admit` are called in the thread of the event loop; `on_eviction` in any.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        has_room: Callable[[], bool],
        admit: Callable[[socket.socket], None],
        on_eviction: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._has_room = has_room
        self._admit = admit
        self._on_eviction = on_eviction
        self._clients: deque[tuple[socket.socket, float]] = deque()
        self._is_due = False

    def hand_over(self, client: socket.socket) -> None:
        """Let a connection wait for its place; from any thread."""
        self._clients.append((client, self._loop.time()))
        if len(self._clients) > self._limit:
            self.close_oldest()
        if not self._is_due:
            self._is_due = True
            try:
                self._loop.call_soon_threadsafe(self._go_on)
            except RuntimeError:
                self.close()  # the loop has ended

    def expire(self, before: float) -> None:
        """Close those that wait since before a moment of the loop's clock."""
        while self._clients and self._clients[0][1] < before:
            self.close_oldest()

    def close_oldest(self) -> bool:
        """Close the one that has waited longest, if any waits; return whether one did."""
        try:
            client, _ = self._clients.popleft()
        except IndexError:
            return False
        self._on_eviction()
        client.close()
        return True

    def close(self) -> None:
        """Close all."""
        while self._clients:
            self._clients.pop()[0].close()

    def _go_on(self) -> None:
        self._is_due = False
        while self._clients and self._has_room():
            self._admit(self._clients.pop()[0])
        if self._clients and not self._is_due:
            self._is_due = True
            self._loop.call_later(RETRY_SECONDS, self._go_on)
