"""Whose request is answered next, and who loses its place."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from exporter.web.admission import Admission, Applicant
from exporter.web.hosts import Origins, origin


@pytest.fixture
def clients() -> Iterator[dict[str, socket.socket]]:
    """Connections by name; the first letter is their origin."""
    with ExitStack() as stack:
        pairs = {name: socket.socketpair() for name in ("a1", "a2", "a3", "a4", "b1", "b2")}
        for ends in pairs.values():
            for end in ends:
                stack.enter_context(end)
        yield {name: ours for name, (ours, _) in pairs.items()}


class Room:
    """An admission of three that waits for a place; `a` has one that is answered."""

    def __init__(self, clients: dict[str, socket.socket]) -> None:
        self._clients = clients
        self._answered = Origins()
        self._answered.add("a")
        self._has_room = False
        self._admitted: list[Applicant] = []
        self._all = asyncio.Event()
        self.evictions = 0
        self.admission = Admission(
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
            self.admission.hand_over(self._clients[name], name[0])

    async def admitted(self, number: int) -> list[str]:
        """Let them in, and return who came in which order."""
        self._has_room = True
        while len(self._admitted) < number:
            self._all.clear()
            await asyncio.wait_for(self._all.wait(), 10)
        names = {client: name for name, client in self._clients.items()}
        return [names[applicant.client] for applicant in self._admitted]

    @property
    def closed(self) -> list[str]:
        """Whose connections are closed."""
        return [name for name, client in self._clients.items() if client.fileno() < 0]

    def _admit(self, applicant: Applicant) -> None:
        self._admitted.append(applicant)
        self._answered.add(applicant.origin)
        self._all.set()

    def _evicted(self) -> None:
        self.evictions += 1


def test_first_comes_who_has_fewest_answers_then_who_is_newest(clients: dict[str, socket.socket]) -> None:
    async def run() -> list[str]:
        room = Room(clients)
        room.come("b1", "a1", "a2")
        return await room.admitted(3)

    assert asyncio.run(run()) == ["b1", "a2", "a1"]


def test_of_too_many_the_oldest_of_those_who_have_most_is_closed(clients: dict[str, socket.socket]) -> None:
    async def run() -> tuple[list[str], int]:
        room = Room(clients)
        room.come("b1", "a1", "a2", "a3", "a4")
        return room.closed, room.evictions

    assert asyncio.run(run()) == (["a1", "a2"], 2)


def test_who_waits_for_too_long_is_closed(clients: dict[str, socket.socket]) -> None:
    async def run() -> tuple[list[str], list[str]]:
        room = Room(clients)
        room.come("a1", "b1")
        moment = asyncio.get_running_loop().time()
        room.come("a2")
        room.admission.expire(moment)
        return room.closed, await room.admitted(1)

    assert asyncio.run(run()) == (["a1", "b1"], ["a2"])


def test_who_comes_when_nothing_is_answered_any_more_is_closed(clients: dict[str, socket.socket]) -> None:
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
def test_a_host_has_many_addresses_of_ipv6(one: str, other: str, is_same: bool) -> None:
    assert (origin(one) == origin(other)) is is_same
