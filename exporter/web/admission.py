"""The queue of connections that have sent a request and wait to be answered.

The network with the fewest active connections comes first, so that no host delays others; of its requests, the newest.
In a flood most of the old requests are not worth an answer any more, while a new one waits for milliseconds only,
however long the queue is. Old ones are kept all the same: a client whose connection is closed may connect again.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Container, Iterable
from typing import TYPE_CHECKING, NamedTuple

from exporter.web.hosts import NetworkCounts

if TYPE_CHECKING:
    from exporter.web.tls import TlsSession

RETRY_SECONDS = 0.01


class QueuedConnection(NamedTuple):
    """A queued connection, its network, and since when it waits, in seconds of the event loop's clock.

    `session` is that of a connection with TLS, with the request that it has received.
    """

    client: socket.socket
    network: str
    since: float
    session: TlsSession | None = None


class AdmissionQueue:
    """Queue of at most `limit` connections; beyond that the network with the most of them loses one.

    `active` counts the active connections of each network. It is read in the thread of the event loop, where
    `has_room`, which may make room, and `admit` are called as well; `on_eviction` is called in any thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        active: NetworkCounts,
        *,
        has_room: Callable[[], bool],
        admit: Callable[[QueuedConnection], None],
        on_eviction: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._active = active
        self._has_room = has_room
        self._admit = admit
        self._on_eviction = on_eviction
        self._lock = threading.Lock()  # held for microseconds
        self._queued: dict[socket.socket, QueuedConnection] = {}
        self._networks = NetworkCounts()
        self._is_scheduled = False

    def __len__(self) -> int:
        return len(self._queued)

    def hand_over(self, client: socket.socket, network: str, session: TlsSession | None = None) -> None:
        """Queue a connection; callable from any thread."""
        with self._lock:
            self._queued[client] = QueuedConnection(client, network, self._loop.time(), session)
            self._networks.add(network)
        if len(self._queued) > self._limit:
            self.evict_one()
        if not self._is_scheduled:
            self._is_scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._admit_next)
            except RuntimeError:  # the loop has ended
                self._is_scheduled = False
                self.close()

    def evict_one(self) -> bool:
        """Close the oldest connection of the network with the most; return false if the queue is empty."""
        with self._lock:
            if not self._queued:
                return False
            oldest = self._take_first(self._queued.values(), {self._networks.largest()})
        self._on_eviction()
        oldest.client.close()
        return True

    def expire(self, before: float) -> None:
        """Close connections that wait since before `before`, in seconds of the event loop's clock."""
        with self._lock:
            late = [each for each in self._queued.values() if each.since < before]
            for each in late:
                self._remove(each)
        for each in late:
            self._on_eviction()
            each.client.close()

    def close(self) -> None:
        """Close all queued connections."""
        while self.evict_one():
            pass

    def _admit_next(self) -> None:
        self._is_scheduled = False
        while self._queued and self._has_room():
            with self._lock:
                if not self._queued:
                    return  # the other thread has just closed the last one
                least = min(map(self._active.count, self._networks))
                first = {network for network in self._networks if self._active.count(network) == least}
                newest = self._take_first(reversed(self._queued.values()), first)
            self._admit(newest)
        if self._queued and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_later(RETRY_SECONDS, self._admit_next)

    def _take_first(self, connections: Iterable[QueuedConnection], networks: Container[str]) -> QueuedConnection:
        """Remove and return the first connection of these networks."""
        first = next(each for each in connections if each.network in networks)
        self._remove(first)
        return first

    def _remove(self, connection: QueuedConnection) -> None:
        del self._queued[connection.client]
        self._networks.remove(connection.network)
