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

from itertools import count, islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

from exporter.web.counts import Crowds
from exporter.web.flows import Flow, FlowCounts, Part, parts_of

if TYPE_CHECKING:
    import socket

    from exporter.web.tls import TlsSession

# Half of what a client notices. In 40 simulated floods of clients that come again within 20 ms, 0.7 % of the requests
# waited longer than 0.8 s; with one of three 1 %, of two 0.8 % and 15 % if they come again at once, without this 5 %,
# which then waited to the end in 25 of the floods. 0.7 s is no better.
RECENT_SECONDS = 0.5
OLDEST_EVERY = 4
# Parts of flows that are looked at, those that came last: requests may come from thousands of networks.
PARTS_MAX = 512


class QueuedConnection(NamedTuple):
    """A queued connection, its flow, and since when it waits, in seconds of the event loop's clock.

    `session` is that of a connection with TLS, with the request that it has received.
    """

    client: socket.socket
    flow: Flow
    since: float
    awaits_body: bool = False
    session: TlsSession | None = None


class _Queued(NamedTuple):
    """A connection with its number, which grows."""

    number: int
    connection: QueuedConnection


class _Alike:
    """Connections that have a part of their flows in common, by age."""

    def __init__(self) -> None:
        self.recent: dict[socket.socket, _Queued] = {}
        self._late: dict[socket.socket, _Queued] = {}

    def remove(self, client: socket.socket) -> bool:
        """Remove a connection; return whether others are left."""
        self.recent.pop(client, None) or self._late.pop(client)
        return bool(self.recent or self._late)

    def newest(self) -> _Queued:
        """Return the newest connection."""
        return next(reversed((self.recent or self._late).values()))

    def oldest_recent(self, now: float) -> _Queued | None:
        """Return the oldest connection that has not waited long, if there is one."""
        while self.recent:
            first = next(iter(self.recent.values()))
            if now - first.connection.since <= RECENT_SECONDS:
                return first
            self._late[first.connection.client] = self.recent.pop(first.connection.client)
        return None


class _Line:
    """Connections with requests of one kind."""

    def __init__(self) -> None:
        self.parts: dict[Part, _Alike] = {}
        self._taken = 0

    def add(self, queued: _Queued) -> None:
        """Add the newest connection."""
        for part in parts_of(queued.connection.flow):
            self.parts.setdefault(part, _Alike()).recent[queued.connection.client] = queued

    def remove(self, connection: QueuedConnection) -> None:
        """Remove a connection."""
        for part in parts_of(connection.flow):
            if not self.parts[part].remove(connection.client):
                del self.parts[part]

    def rarest(self, active: FlowCounts) -> int:
        """Return how many active connections the rarest part has."""
        return min(map(active.count, islice(reversed(self.parts), PARTS_MAX)))

    def next(self, active: FlowCounts, rarest: int, now: float) -> QueuedConnection:
        """Return the connection to admit next, of those with a part that has so many active connections."""
        some = islice(reversed(self.parts.items()), PARTS_MAX)
        rare = [alike for part, alike in some if active.count(part) == rarest]
        self._taken += 1
        oldest = () if self._taken % OLDEST_EVERY else filter(None, (alike.oldest_recent(now) for alike in rare))
        found = min(oldest, default=None) or max(alike.newest() for alike in rare)
        return found.connection


class AdmissionOrder:
    """Queued connections; `active` counts the active connections."""

    def __init__(self, active: FlowCounts) -> None:
        self._active = active
        self._queued: dict[socket.socket, QueuedConnection] = {}
        self._networks: Crowds[str, socket.socket] = Crowds()
        self._numbers = count()
        # By whether their requests await a body; `_turn` is the kind of the next admission.
        self._lines = {False: _Line(), True: _Line()}
        self._turn = False

    def __len__(self) -> int:
        return len(self._queued)

    def add(self, connection: QueuedConnection) -> None:
        """Add a connection that waits since now."""
        self._queued[connection.client] = connection
        self._networks.add(connection.flow.network, connection.client)
        self._lines[connection.awaits_body].add(_Queued(next(self._numbers), connection))

    def take_next(self, now: float) -> QueuedConnection | None:
        """Remove and return the connection to admit at `now`; None if there is none."""
        rarest = {kind: line.rarest(self._active) for kind, line in self._lines.items() if line.parts}
        if not rarest:
            return None
        kind = min(rarest, key=lambda kind: (rarest[kind], kind != self._turn))
        self._turn = not kind
        return self._remove(self._lines[kind].next(self._active, rarest[kind], now))

    def take_last(self) -> QueuedConnection | None:
        """Remove and return the oldest connection of the network with the most; None if there is none."""
        return self._remove(self._queued[self._networks.oldest()]) if self._queued else None

    def take(self, client: socket.socket) -> QueuedConnection | None:
        """Remove and return the connection of a client; None if there is none."""
        found = self._queued.get(client)
        return None if found is None else self._remove(found)

    def take_late(self, before: float) -> list[QueuedConnection]:
        """Remove and return the connections that wait since before `before`."""
        late = [*takewhile(lambda each: each.since < before, self._queued.values())]
        return [self._remove(each) for each in late]

    def _remove(self, connection: QueuedConnection) -> QueuedConnection:
        del self._queued[connection.client]
        self._networks.remove(connection.flow.network, connection.client)
        self._lines[connection.awaits_body].remove(connection)
        return connection
