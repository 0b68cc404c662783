"""The order in which connections that have sent a request are admitted, and closed. Pure: time is an argument.

The network with the fewest active connections comes first, so that no host delays others. Of its requests, those that
have arrived as a whole and those whose body has not take turns, so that neither kind delays the other: a body may take
as long as its client likes. Of each kind the newest comes first: in a flood most of the old requests are not worth an
answer any more, while a new one waits for milliseconds only, however long the queue is.

Each client that loses its place may connect again at once, so that as many requests arrive as are admitted. One that
has missed its moment would then stay behind newer ones for seconds, as often as not. So one of four admissions is for
the oldest request that has not waited long yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from exporter.web.hosts import NetworkCounts

if TYPE_CHECKING:
    import socket

    from exporter.web.tls import TlsSession

# Half of what a client notices. In 40 simulated floods of clients that come again within 20 ms, 0.7 % of the requests
# waited longer than 0.8 s; with one of three 1 %, of two 0.8 % and 15 % if they come again at once, without this 5 %,
# which then waited to the end in 25 of the floods. 0.7 s is no better.
RECENT_SECONDS = 0.5
OLDEST_EVERY = 4


class QueuedConnection(NamedTuple):
    """A queued connection, its network, and since when it waits, in seconds of the event loop's clock.

    `session` is that of a connection with TLS, with the request that it has received.
    """

    client: socket.socket
    network: str
    since: float
    awaits_body: bool = False
    session: TlsSession | None = None


class _Line:
    """Connections with requests of one kind, the oldest first."""

    def __init__(self) -> None:
        self.connections: dict[socket.socket, QueuedConnection] = {}
        self._taken = 0

    def next(self, networks: Container[str], now: float) -> QueuedConnection | None:
        """Return the connection of these networks that is admitted next, if there is one."""
        newest_first = (each for each in reversed(self.connections.values()) if each.network in networks)
        if (newest := next(newest_first, None)) is None:
            return None
        self._taken += 1
        if self._taken % OLDEST_EVERY:
            return newest
        recent = takewhile(lambda each: now - each.since <= RECENT_SECONDS, newest_first)
        return deque((newest, *recent), 1)[0]


class AdmissionOrder:
    """Queued connections; `active` counts the active connections of each network."""

    def __init__(self, active: NetworkCounts) -> None:
        self._active = active
        self._networks = NetworkCounts()
        # By whether their requests await a body; `_turn` is the kind of the next admission.
        self._lines = {False: _Line(), True: _Line()}
        self._turn = False

    def __len__(self) -> int:
        return sum(len(line.connections) for line in self._lines.values())

    def add(self, connection: QueuedConnection) -> None:
        """Add a connection that waits since now."""
        self._lines[connection.awaits_body].connections[connection.client] = connection
        self._networks.add(connection.network)

    def take_next(self, now: float) -> QueuedConnection | None:
        """Remove and return the connection to admit at `now`; None if there is none."""
        least = min(map(self._active.count, self._networks), default=0)
        networks = {network for network in self._networks if self._active.count(network) == least}
        for kind in (self._turn, not self._turn):
            if (found := self._lines[kind].next(networks, now)) is not None:
                self._turn = not kind
                return self._remove(found)
        return None

    def take_last(self) -> QueuedConnection | None:
        """Remove and return the oldest connection of the network with the most; None if there is none."""
        if not len(self):
            return None
        largest = self._networks.largest()
        lines = (line.connections.values() for line in self._lines.values())
        firsts = (next((each for each in line if each.network == largest), None) for line in lines)
        return self._remove(min((each for each in firsts if each is not None), key=lambda each: each.since))

    def take_late(self, before: float) -> list[QueuedConnection]:
        """Remove and return the connections that wait since before `before`."""
        every = (each for line in self._lines.values() for each in line.connections.values())
        return [self._remove(each) for each in [each for each in every if each.since < before]]

    def _remove(self, connection: QueuedConnection) -> QueuedConnection:
        del self._lines[connection.awaits_body].connections[connection.client]
        self._networks.remove(connection.network)
        return connection
