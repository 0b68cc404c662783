"""Who is answered next of those that have sent a request.

First comes the origin of which the fewest are answered just now, so that no host keeps others waiting; of its requests
the newest. In a flood most of the old ones are not there for the answer, and who has just come waits for milliseconds,
however many wait already. These are kept all the same: who is closed may come again at once.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

from exporter.web.hosts import Origins

RETRY_SECONDS = 0.01


class Applicant(NamedTuple):
    """A connection that waits for its place, whose it is, and since when, by the clock of the event loop."""

    client: socket.socket
    origin: str
    since: float


class Admission:
    """Connections that wait for a place, at most `limit`; beyond that the origin that has most of them loses one.

    `answered` has how many of each origin are answered. It is read, and `has_room`, which may make room, and `admit`
    are called in the thread of the event loop; `on_eviction` in any.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        answered: Origins,
        *,
        has_room: Callable[[], bool],
        admit: Callable[[Applicant], None],
        on_eviction: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._answered = answered
        self._has_room = has_room
        self._admit = admit
        self._on_eviction = on_eviction
        self._lock = threading.Lock()  # held for microseconds
        self._applicants: dict[socket.socket, Applicant] = {}
        self._origins = Origins()
        self._is_due = False

    def hand_over(self, client: socket.socket, origin: str) -> None:
        """Let a connection wait for its place; from any thread."""
        with self._lock:
            self._applicants[client] = Applicant(client, origin, self._loop.time())
            self._origins.add(origin)
        if len(self._applicants) > self._limit:
            self.close_one()
        if not self._is_due:
            self._is_due = True
            try:
                self._loop.call_soon_threadsafe(self._go_on)
            except RuntimeError:  # the loop has ended
                self._is_due = False
                self.close()

    def close_one(self) -> bool:
        """Close the oldest of the origin that has most, if any waits; return whether one did."""
        with self._lock:
            if not self._applicants:
                return False
            oldest = self._taken(self._applicants.values(), {self._origins.most()})
        self._on_eviction()
        oldest.client.close()
        return True

    def expire(self, before: float) -> None:
        """Close those that wait since before a moment."""
        with self._lock:
            late = [each for each in self._applicants.values() if each.since < before]
            for each in late:
                self._take(each)
        for each in late:
            self._on_eviction()
            each.client.close()

    def close(self) -> None:
        """Close all."""
        while self.close_one():
            pass

    def _go_on(self) -> None:
        self._is_due = False
        while self._applicants and self._has_room():
            with self._lock:
                if not self._applicants:
                    return  # the other thread has just closed the last
                least = min(map(self._answered.of, self._origins))
                first = {origin for origin in self._origins if self._answered.of(origin) == least}
                newest = self._taken(reversed(self._applicants.values()), first)
            self._admit(newest)
        if self._applicants and not self._is_due:
            self._is_due = True
            self._loop.call_later(RETRY_SECONDS, self._go_on)

    def _taken(self, applicants: Iterable[Applicant], origins: Container[str]) -> Applicant:
        """Take away, and return, the first of some origins."""
        first = next(each for each in applicants if each.origin in origins)
        self._take(first)
        return first

    def _take(self, applicant: Applicant) -> None:
        del self._applicants[applicant.client]
        self._origins.remove(applicant.origin)
