"""The places of active connections, by what they wait for, and which of them is to be freed. Pure: time is an argument.

An idle connection loses its place first, then one that is like many others, see `flows`: one whose client has neither
read nor sent anything for longest, else the one that has waited longest. Streams, which are few, keep theirs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from exporter.web.bodies import BodyMemory
from exporter.web.flows import Flow, FlowCounts

# A connection whose client does nothing, or that has waited, for so long may be replaced; the oldest first.
SLOW_SECONDS, CROWDED_SECONDS = 1.0, 0.1

Client = TypeVar("Client", bound=Hashable)
# Clients in the same state, ordered by their last activity.
Group = dict[Client, "Place[Client]"]


class Place(Generic[Client]):
    """The place of one client; times are in seconds of one clock."""

    __slots__ = ("body", "deadline", "flow", "group", "served_at", "since")

    def __init__(self, flow: Flow, group: Group[Client], now: float, deadline: float) -> None:
        self.flow = flow
        self.group = group
        self.since = now
        self.deadline = deadline
        self.served_at = 0.0
        self.body: tuple[bytes, ...] = ()


class Places(Generic[Client]):
    """All places: `idle` clients, those that the server waits for (`transferring`), that wait for it, and streams.

    `active` counts the places, and those that are taken soon.
    """

    def __init__(self, limit: int, bodies_bytes: int) -> None:
        self._limit = limit
        self._bodies_bytes = bodies_bytes
        self._bodies = BodyMemory()
        self.taken: dict[Client, Place[Client]] = {}
        self.idle: Group[Client] = {}
        self.transferring: Group[Client] = {}
        self.waiting: Group[Client] = {}
        self.streaming: Group[Client] = {}
        self.active = FlowCounts()

    def __len__(self) -> int:
        return len(self.taken)

    def add(self, client: Client, flow: Flow, now: float, deadline: float) -> None:
        """Give a place to a client that waits."""
        self.taken[client] = self.waiting[client] = Place(flow, self.waiting, now, deadline)
        self.active.add(flow)

    def remove(self, client: Client) -> None:
        """Free the place of a client, if it has one."""
        if (place := self.taken.pop(client, None)) is not None:
            del place.group[client]
            self._bodies.release(place.body)
            self.active.remove(place.flow)

    def move(self, client: Client, group: Group[Client], now: float, seconds: float | None = None) -> Place[Client]:
        """Make a client the last of a group; `seconds` is its time limit there. Raises KeyError without a place."""
        place = self.taken[client]
        del place.group[client]
        place.group = group
        group[client] = place
        place.since = now
        if seconds is not None:
            place.deadline = now + seconds
        return place

    def hold_body(self, client: Client, body: tuple[bytes, ...]) -> None:
        """Set the body that is sent to a client, () for none."""
        place = self.taken[client]
        self._bodies.release(place.body)
        self._bodies.hold(body)
        place.body = body

    def unread(self, client: Client) -> Iterable[Client]:
        """Yield clients other than this one that read a body, until the bodies fit into the limit.

        The caller removes each of them: those that have read nothing for longest come first.
        """
        for reader in [each for each, place in self.transferring.items() if place.body and each is not client]:
            if self._bodies.total_bytes <= self._bodies_bytes:
                return
            yield reader

    def late(self, now: float) -> list[Client]:
        """Return the clients that exceed their time limit."""
        return [client for client, place in self.taken.items() if place.deadline < now]

    def least_active(self) -> Client | None:
        """Return the client to close if one must be, None without any."""
        return next(iter(self.idle or self.transferring or self.waiting or self.streaming), None)

    def replaceable(self, now: float) -> Client | None:
        """Return the client whose place another may have; None while all are active."""
        if self.idle:
            return next(iter(self.idle))
        # Slow clients are closed sooner when they hold most of the places; a few may just have had no time.
        slow_seconds = CROWDED_SECONDS if len(self.transferring) > self._limit / 2 else SLOW_SECONDS
        crowded = self._crowded()
        for group, seconds in ((self.transferring, slow_seconds), (self.waiting, SLOW_SECONDS)):
            first = next((client for client, place in group.items() if place.flow in crowded), None)
            if first is not None and now - group[first].since >= seconds:
                return first
        return None

    def _crowded(self) -> set[Flow]:
        """Return the flows whose rarest part has the most connections, or more than half as many."""
        numbers = {flow: self.active.rarest(flow) for flow in {place.flow for place in self.taken.values()}}
        most = max(numbers.values(), default=0)
        return {flow for flow, number in numbers.items() if 2 * number > most}
