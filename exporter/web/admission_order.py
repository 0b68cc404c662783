"""The order in which connections that have sent a request are admitted, and closed. Pure: time is an argument.

The flow of which the fewest connections are active comes first, see `flows`: so no host delays others, and no flood
what looks different. Of its requests, those that have arrived as a whole and those whose body has not take turns, so
that neither kind delays the other: a body may take as long as its client likes. Of each kind the newest comes first: in
a flood most of the old requests are not worth an answer any more, while a new one waits for milliseconds only, however
long the queue is.

Each client that loses its place may connect again at once, so that as many requests arrive as are admitted. One that
has missed its moment would then stay behind newer ones for seconds, as often as not. So one of four admissions is for
the oldest request that has not waited long yet.
"""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from exporter.web.flows import Flow, FlowCounts, Flows

if TYPE_CHECKING:
    import socket

    from exporter.web.tls import TlsSession

# Half of what a client notices. In 40 simulated floods of clients that come again within 20 ms, 0.7 % of the requests
# waited longer than 0.8 s; with one of three 1 %, of two 0.8 % and 15 % if they come again at once, without this 5 %,
# which then waited to the end in 25 of the floods. 0.7 s is no better.
RECENT_SECONDS = 0.5
OLDEST_EVERY = 4


class QueuedConnection(NamedTuple):
    """A queued connection, its flow, and since when it waits, in seconds of the event loop's clock.

    `session` is that of a connection with TLS, with the request that it has received.
    """

    client: socket.socket
    flow: Flow
    since: float
    awaits_body: bool = False
    session: TlsSession | None = None


class _Line:
    """Connections with requests of one kind, the oldest first."""

    def __init__(self) -> None:
        self.connections: dict[socket.socket, QueuedConnection] = {}
        self._taken = 0

    def next(self, flows: Flows, now: float) -> QueuedConnection | None:
        """Return the connection of these flows that is admitted next, if there is one."""
        newest_first = (each for each in reversed(self.connections.values()) if flows.has(each.flow))
        if (newest := next(newest_first, None)) is None:
            return None
        self._taken += 1
        if self._taken % OLDEST_EVERY:
            return newest
        recent = takewhile(lambda each: now - each.since <= RECENT_SECONDS, newest_first)
        return deque((newest, *recent), 1)[0]


class AdmissionOrder:
    """Queued connections; `active` counts the active connections."""

    def __init__(self, active: FlowCounts) -> None:
        self._active = active
        self._flows = FlowCounts()
        # By whether their requests await a body; `_turn` is the kind of the next admission.
        self._lines = {False: _Line(), True: _Line()}
        self._turn = False

    def __len__(self) -> int:
        return sum(len(line.connections) for line in self._lines.values())

    def add(self, connection: QueuedConnection) -> None:
        """Add a connection that waits since now."""
        self._lines[connection.awaits_body].connections[connection.client] = connection
        self._flows.add(connection.flow)

    def take_next(self, now: float) -> QueuedConnection | None:
        """Remove and return the connection to admit at `now`; None if there is none."""
        flows = self._active.rarest(self._flows)
        for kind in (self._turn, not self._turn):
            if (found := self._lines[kind].next(flows, now)) is not None:
                self._turn = not kind
                return self._remove(found)
        return None

    def take_last(self) -> QueuedConnection | None:
        """Remove and return the oldest connection of the network with the most; None if there is none."""
        if not len(self):
            return None
        largest = self._flows.networks.largest()
        lines = (line.connections.values() for line in self._lines.values())
        firsts = (next((each for each in line if each.flow.network == largest), None) for line in lines)
        return self._remove(min((each for each in firsts if each is not None), key=lambda each: each.since))

    def take_late(self, before: float) -> list[QueuedConnection]:
        """Remove and return the connections that wait since before `before`."""
        every = (each for line in self._lines.values() for each in line.connections.values())
        return [self._remove(each) for each in [each for each in every if each.since < before]]

    def _remove(self, connection: QueuedConnection) -> QueuedConnection:
        del self._lines[connection.awaits_body].connections[connection.client]
        self._flows.remove(connection.flow)
        return connection
