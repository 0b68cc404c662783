"""The queue of connections that have sent a request and wait to be answered, in the order of `admission_order`.

Old ones are kept, although newer ones come first: a client whose connection is closed may connect again. So when the
queue is full, those are closed first whose clients have ended them, and do not come again.
"""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from exporter.web.admission_order import AdmissionOrder, QueuedConnection
from exporter.web.flows import Flow, FlowCounts
from exporter.web.prompt_sockets import ready, watch

if TYPE_CHECKING:
    from exporter.web.tls import TlsSession

RETRY_SECONDS = 0.01
# Connections that are closed at a time because their clients have ended them: a millisecond.
ENDED_MAX = 64
_ENDS = select.EPOLLRDHUP | select.EPOLLET


class AdmissionQueue:
    """Queue of at most `limit` connections; beyond that the network with the most of them loses one.

    `active` counts the active connections. It is read in the thread of the event loop, where
    `has_room`, which may make room, and `admit` are called as well; `on_eviction` is called in any thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        active: FlowCounts,
        *,
        has_room: Callable[[], bool],
        admit: Callable[[QueuedConnection], None],
        on_eviction: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._has_room = has_room
        self._admit = admit
        self._on_eviction = on_eviction
        self._lock = threading.Lock()  # held for microseconds
        self._queued = AdmissionOrder(active)
        # By descriptor. Those that are not queued any more are watched until they are closed, which costs less.
        self._clients: dict[int, socket.socket] = {}
        self._ends = select.epoll()
        self._is_scheduled = False

    def __len__(self) -> int:
        return len(self._queued)

    def hand_over(
        self, client: socket.socket, flow: Flow, awaits_body: bool, session: TlsSession | None = None
    ) -> None:
        """Queue a connection; callable from any thread."""
        with self._lock:
            if self._ends.closed:
                return client.close()
            self._queued.add(QueuedConnection(client, flow, self._loop.time(), awaits_body, session))
            self._clients[client.fileno()] = client
            watch(self._ends, client, _ENDS)
        if len(self._queued) > self._limit and not self._evict_ended():
            self.evict_one()
        if not self._is_scheduled:
            self._is_scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._admit_next)
            except RuntimeError:  # the loop has ended
                self._is_scheduled = False
                self.close()

    def _evict_ended(self) -> bool:
        """Close the connections that their clients have ended; return whether there were any."""
        with self._lock:
            events = {} if self._ends.closed else ready(self._ends, ENDED_MAX)
            clients = [self._clients[each] for each in events if each in self._clients]
            ended = [connection for client in clients if (connection := self._queued.take(client))]
        for each in ended:
            self._evict(each)
        return bool(ended)

    def evict_one(self) -> bool:
        """Close the oldest connection of the network with the most; return false if the queue is empty."""
        with self._lock:
            last = self._queued.take_last()
        if last is not None:
            self._evict(last)
        return last is not None

    def expire(self, before: float) -> None:
        """Close connections that wait since before `before`, in seconds of the event loop's clock."""
        with self._lock:
            late = self._queued.take_late(before)
        for each in late:
            self._evict(each)

    def close(self) -> None:
        """Close all queued connections, and those that are handed over from now on."""
        with self._lock:
            self._ends.close()
        while self.evict_one():
            pass

    def _evict(self, connection: QueuedConnection) -> None:
        del self._clients[connection.client.fileno()]
        self._on_eviction()
        connection.client.close()

    def _admit_next(self) -> None:
        self._is_scheduled = False
        while self._queued and self._has_room():
            with self._lock:
                found = self._queued.take_next(self._loop.time())
            if found is None:
                return  # the other thread has just closed the last one
            del self._clients[found.client.fileno()]
            self._admit(found)
        if self._queued and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_later(RETRY_SECONDS, self._admit_next)
