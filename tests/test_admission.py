"""The order in which queued connections are admitted, and which are closed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from exporter.web.admission import AdmissionQueue
from exporter.web.admission_order import QueuedConnection
from exporter.web.flows import Flow, FlowCounts
from exporter.web.hosts import network_of


@pytest.fixture
def pairs() -> Iterator[dict[str, tuple[socket.socket, socket.socket]]]:
    """Connections and their clients by name; the first letter is the network."""
    with ExitStack() as stack:
        created = {name: socket.socketpair() for name in ("a1", "a2", "a3", "a4", "b1", "b2")}
        for ends in created.values():
            for end in ends:
                stack.enter_context(end)
        yield created


@pytest.fixture
def clients(pairs: dict[str, tuple[socket.socket, socket.socket]]) -> dict[str, socket.socket]:
    """The connections alone."""
    return {name: ours for name, (ours, _) in pairs.items()}


class Room:
    """A queue of three; network `a` has one active connection."""

    def __init__(self, clients: dict[str, socket.socket]) -> None:
        self._clients = clients
        self._answered = FlowCounts()
        self._answered.add(Flow("a"))
        self._has_room = False
        self._admitted: list[QueuedConnection] = []
        self._all = asyncio.Event()
        self.evictions = 0
        self.admission = AdmissionQueue(
            asyncio.get_running_loop(),
            3,
            self._answered,
            has_room=lambda: self._has_room,
            admit=self._admit,
            on_eviction=self._evicted,
        )

    def come(self, *names: str) -> None:
        """Let these wait."""
        for name in names:
            self.admission.hand_over(self._clients[name], Flow(name[0]), False)

    async def admitted(self, number: int) -> list[str]:
        """Make room, and return the names in the order of admission."""
        self._has_room = True
        while len(self._admitted) < number:
            self._all.clear()
            await asyncio.wait_for(self._all.wait(), 10)
        names = {client: name for name, client in self._clients.items()}
        return [names[connection.client] for connection in self._admitted]

    def stay_full(self) -> None:
        """Make no more room."""
        self._has_room = False

    @property
    def closed(self) -> list[str]:
        """Whose connections are closed."""
        return [name for name, client in self._clients.items() if client.fileno() < 0]

    def _admit(self, connection: QueuedConnection) -> None:
        self._admitted.append(connection)
        self._answered.add(connection.flow)
        self._all.set()

    def _evicted(self) -> None:
        self.evictions += 1


def test_the_network_with_the_fewest_active_connections_comes_first_then_the_newest_request(
    clients: dict[str, socket.socket],
) -> None:
    async def run() -> list[str]:
        room = Room(clients)
        room.come("b1", "a1", "a2")
        return await room.admitted(3)

    assert asyncio.run(run()) == ["b1", "a2", "a1"]


def test_beyond_the_limit_the_oldest_of_the_largest_network_is_closed(clients: dict[str, socket.socket]) -> None:
    async def run() -> tuple[list[str], int]:
        room = Room(clients)
        room.come("b1", "a1", "a2", "a3", "a4")
        return room.closed, room.evictions

    assert asyncio.run(run()) == (["a1", "a2"], 2)


def test_beyond_the_limit_those_whose_clients_have_ended_them_are_closed_before_others(
    pairs: dict[str, tuple[socket.socket, socket.socket]], clients: dict[str, socket.socket]
) -> None:
    """They do not come again. Until then they wait as others do: a client may end its side after its request."""

    async def run() -> tuple[list[str], list[str], list[str]]:
        room = Room(clients)
        room.come("a1", "a2", "b1")
        pairs["a2"][1].shutdown(socket.SHUT_WR)
        pairs["b1"][1].close()
        before = room.closed
        room.come("a3")
        ended = room.closed
        room.come("a4", "b2")
        return before, ended, room.closed

    assert asyncio.run(run()) == ([], ["a2", "b1"], ["a1", "a2", "b1"])


def test_one_that_was_admitted_is_not_closed_when_its_client_ends_it(
    pairs: dict[str, tuple[socket.socket, socket.socket]], clients: dict[str, socket.socket]
) -> None:
    async def run() -> list[str]:
        room = Room(clients)
        room.come("a1")
        await room.admitted(1)
        room.stay_full()
        pairs["a1"][1].shutdown(socket.SHUT_WR)
        room.come("a2", "a3", "b1", "b2")
        return room.closed

    assert asyncio.run(run()) == ["a2"]


def test_a_connection_that_waits_too_long_is_closed(clients: dict[str, socket.socket]) -> None:
    async def run() -> tuple[list[str], list[str]]:
        room = Room(clients)
        room.come("a1", "b1")
        moment = asyncio.get_running_loop().time()
        room.come("a2")
        room.admission.expire(moment)
        return room.closed, await room.admitted(1)

    assert asyncio.run(run()) == (["a1", "b1"], ["a2"])


def test_connections_after_the_end_of_the_event_loop_are_closed(clients: dict[str, socket.socket]) -> None:
    async def begin() -> Room:
        return Room(clients)

    room = asyncio.run(begin())
    room.come("a1", "a2")
    assert room.closed == ["a1", "a2"]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:3:4:5:6", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_the_addresses_of_an_ipv6_network_count_as_one(one: str, other: str, is_same: bool) -> None:
    assert (network_of(one) == network_of(other)) is is_same
