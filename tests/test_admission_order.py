"""Which queued connection is admitted next, which is closed, and how long a request waits in a flood. No clock runs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.runtime.rate_limit import RateLimiter
from exporter.web.admission import RETRY_SECONDS
from exporter.web.admission_order import OLDEST_EVERY, RECENT_SECONDS, AdmissionOrder, QueuedConnection
from exporter.web.connections import EVICTIONS_BURST, EVICTIONS_PER_SECOND
from exporter.web.flows import BASE, Flow, FlowCounts, parts_of
from exporter.web.limits import ClientLimits
from exporter.web.places import Places

HOSTILE = 2000
HOME = "127.0.0.1"
SCRAPER, SCRAPE = -1, Flow(HOME, 0, 0)
SCRAPE_EVERY, SCRAPE_SECONDS = 0.5, 0.02
ARRIVE_SECONDS, FLOOD_SECONDS = 0.5, 5.0


def queued(name: str, since: float, *, awaits_body: bool = False) -> QueuedConnection:
    """A connection by its name, whose first letter is its network; the order takes any client that has an identity."""
    return QueuedConnection(cast(socket.socket, name), Flow(name[0]), since, awaits_body)


def order_of(*connections: QueuedConnection, active: str = "") -> AdmissionOrder:
    """An order of these; `active` has a letter for each active connection."""
    counts = FlowCounts()
    for network in active:
        counts.add(Flow(network))
    order = AdmissionOrder(counts)
    for each in connections:
        order.add(each)
    return order


def taken(order: AdmissionOrder, now: float) -> list[object]:
    """All names in the order of their admission at one moment."""
    return [cast(QueuedConnection, order.take_next(now)).client for _ in range(len(order))]


def test_the_network_with_the_fewest_active_connections_comes_first() -> None:
    order = order_of(queued("b1", 0.0, awaits_body=True), queued("a1", 0.1), queued("a2", 0.2), active="a")
    assert taken(order, 0.2) == ["b1", "a2", "a1"]


def test_requests_that_are_complete_and_those_that_are_not_take_turns() -> None:
    complete = [queued(f"a{number}", 0.0) for number in range(2)]
    bodies = [queued(f"ab{number}", 0.0, awaits_body=True) for number in range(3)]
    assert taken(order_of(*complete, *bodies), 0.0) == ["a1", "ab2", "a0", "ab1", "ab0"]


def test_one_of_some_admissions_is_for_the_oldest_that_has_not_waited_long() -> None:
    late, recent = 1.0, 1.0 + RECENT_SECONDS
    waiting = [queued(f"a{number}", late if number < 2 else recent) for number in range(6)]
    assert taken(order_of(*waiting), recent + RECENT_SECONDS / 2) == ["a5", "a4", "a3", "a2", "a1", "a0"]
    waiting.append(queued("a6", recent))
    assert OLDEST_EVERY == 4
    assert taken(order_of(*waiting), recent + RECENT_SECONDS / 2) == ["a6", "a5", "a4", "a2", "a3", "a1", "a0"]


FLOWS = st.builds(Flow, st.sampled_from("ab"), st.integers(0, 2), st.integers(0, 2))


@given(st.lists(FLOWS), st.lists(st.tuples(FLOWS, st.booleans()), min_size=1))
def test_a_part_of_the_next_one_is_as_rare_among_the_active_as_any_that_waits(
    active: list[Flow], waiting: list[tuple[Flow, bool]]
) -> None:
    counts = FlowCounts()
    for flow in active:
        counts.add(flow)
    order = AdmissionOrder(counts)
    for number, (flow, awaits_body) in enumerate(waiting):
        order.add(QueuedConnection(cast(socket.socket, number), flow, 0.0, awaits_body))
    rarest = [min(sum(part in parts_of(each) for each in active) for part in parts_of(flow)) for flow, _ in waiting]
    found = cast(QueuedConnection, order.take_next(0.0))
    assert rarest[cast(int, found.client)] == min(rarest)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=30), st.integers(0, 30))
def test_everything_is_admitted_or_closed_once(kinds: list[tuple[str, bool]], admitted: int) -> None:
    waiting = [queued(f"{kind}{at}", float(at), awaits_body=body) for at, (kind, body) in enumerate(kinds)]
    order = order_of(*waiting, active="a")
    found = [order.take_next(30.0) for _ in range(admitted)] + [order.take_last() for _ in range(len(order))]
    assert sorted(each.since for each in found if each) == [each.since for each in waiting]
    assert (len(order), order.take_next(30.0), order.take_last()) == (0, None, None)


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.integers(0, 32))
def test_the_oldest_of_the_largest_network_is_closed_and_all_that_are_late(bodies: list[bool], before: int) -> None:
    first, *others = (queued(f"a{at}", float(at), awaits_body=body) for at, body in enumerate(bodies, 1))
    others += [queued("b", 0.0), queued("c", 31.0)]
    order = order_of(*sorted((first, *others), key=lambda each: each.since))
    assert order.take_last() == first
    assert set(order.take_late(before)) == {each for each in others if each.since < before}


class Flood(NamedTuple):
    """Clients that hold a place until they lose it, and then come again; all arrive within half a second.

    `flow` is the one of each, by its number; that of the scrape is `SCRAPE`.
    """

    return_seconds: float
    flow: Callable[[int], Flow]
    awaits_body: bool = False


class Door:
    """A queue and places in floods, and a client on the same host that scrapes; events come in the order of time."""

    def __init__(self, floods: Sequence[Flood], seed: int) -> None:
        self._random = Random(seed)
        self._hostile = {number: floods[number % len(floods)] for number in range(HOSTILE)}
        self._limit = ClientLimits().active
        self._places = Places[int](self._limit, 0)
        self._order = AdmissionOrder(self._places.active)
        self._evictions = RateLimiter(EVICTIONS_BURST, EVICTIONS_PER_SECOND)
        self._events: list[tuple[float, int, str, int]] = []
        self._numbers = count()
        self.waits: list[float] = []

    def run(self, first_scrape: float) -> None:
        """Let the floods begin, and a scrape come at `first_scrape` and each half second after the one before."""
        for number in self._hostile:
            self._plan(number * ARRIVE_SECONDS / HOSTILE, "arrives", number)
        self._plan(first_scrape, "arrives", SCRAPER)
        self._plan(0.0, "retries", SCRAPER)
        while (event := heappop(self._events))[0] < FLOOD_SECONDS:
            now, _, what, client = event
            if what == "arrives":
                self._arrive(client, now)
            elif what == "ends":
                self._places.remove(client)
            else:
                self._plan(now + RETRY_SECONDS, "retries", SCRAPER)
            self._admit(now)
        late = self._order.take_late(FLOOD_SECONDS)
        self.waits += [FLOOD_SECONDS - each.since for each in late if cast(int, each.client) == SCRAPER]

    def _arrive(self, client: int, now: float) -> None:
        flood = self._hostile.get(client)
        flow, awaits_body = (flood.flow(client), flood.awaits_body) if flood else (SCRAPE, False)
        self._order.add(QueuedConnection(cast(socket.socket, client), flow, now, awaits_body))

    def _plan(self, moment: float, what: str, client: int) -> None:
        heappush(self._events, (moment, next(self._numbers), what, client))

    def _admit(self, now: float) -> None:
        while len(self._order) and self._has_room(now):
            found = cast(QueuedConnection, self._order.take_next(now))
            client = cast(int, found.client)
            self._places.add(client, found.flow, now, now)
            if client == SCRAPER:
                self.waits.append(now - found.since)
                self._plan(now + SCRAPE_SECONDS, "ends", client)
                self._plan(max(found.since + SCRAPE_EVERY, now + SCRAPE_SECONDS), "arrives", client)
            else:
                self._places.move(client, self._places.transferring, now)

    def _has_room(self, now: float) -> bool:
        if len(self._places) < self._limit:
            return True
        client = self._places.replaceable(now)
        if client is None or self._evictions.admit("", int(now * 1000)) is None:
            return False
        self._places.remove(client)
        self._plan(now + self._random.random() * self._hostile[client].return_seconds, "arrives", client)
        return True


def waits(first_scrape: float, floods: Sequence[Flood], runs: int) -> list[float]:
    """How long scrapes wait in some runs, in seconds; in each the first one comes a little later."""
    doors = [Door(floods, seed) for seed in range(runs)]
    for seed, door in enumerate(doors):
        door.run(first_scrape + SCRAPE_EVERY * seed / runs)
    return [each for door in doors for each in door.waits]


# A number below the base times this one has the same digit at each place.
ONES = 1 + BASE + BASE * BASE


def alike(_: int) -> Flow:
    """All look the same."""
    return Flow(HOME, ONES, ONES)


def numbered(number: int) -> Flow:
    """Each has another number in its head."""
    return Flow(HOME, ONES, ONES * (number % BASE))


def everywhere(number: int) -> Flow:
    """All look the same, and come from many addresses, that of the scraper among them."""
    return Flow(f"127.0.0.{number % 200}", ONES, ONES)


def shifting(number: int) -> Flow:
    """Each has other headers as well, from one address: the other ones of a scraper are rare."""
    return Flow("127.0.0.9", ONES * (number % BASE), ONES * (number // BASE % BASE))


def colliding(number: int) -> Flow:
    """Eight floods in the shape of the scrape, some of which have a digit of its head."""
    kind = 1 + number % 8
    digits = (0, kind, kind) if kind < 4 else (kind, 0, kind)
    return Flow(HOME, SCRAPE.shape, digits[0] + BASE * (digits[1] + BASE * digits[2]))


MIXES: Mapping[str, tuple[Flood, ...]] = {
    "complete requests": (Flood(0.02, alike),),
    "complete requests that come again at once": (Flood(0.0, alike),),
    "complete requests that come again later": (Flood(0.25, alike),),
    "complete requests with numbers": (Flood(0.02, numbered),),
    "complete requests whose hashes have digits of a scrape's": (Flood(0.02, colliding),),
    "complete requests from many addresses": (Flood(0.02, everywhere),),
    "complete requests of many shapes from another address": (Flood(0.02, shifting),),
    "bodies without end": (Flood(0.02, alike, awaits_body=True),),
    "bodies from many addresses": (Flood(0.0, everywhere, awaits_body=True),),
    "all of these": tuple(
        Flood(seconds, flow, awaits_body)
        for seconds in (0.0, 0.02, 0.25)
        for flow in (alike, numbered, everywhere, shifting)
        for awaits_body in (False, True)
    ),
}


@pytest.mark.parametrize("mix", MIXES)
def test_whatever_looks_different_delays_a_scrape_by_fewer_than_three_evictions(mix: str) -> None:
    """Also while all of the clients arrive."""
    assert max(waits(0.1, MIXES[mix], 3)) < 3 / EVICTIONS_PER_SECOND + RETRY_SECONDS


@pytest.mark.parametrize("return_seconds", [0.0, 0.02, 0.25])
def test_bodies_without_end_that_look_like_the_scrape_delay_it_by_fewer_than_three_evictions(
    return_seconds: float,
) -> None:
    found = waits(0.1, [Flood(return_seconds, lambda _: SCRAPE, awaits_body=True)], 3)
    assert max(found) < 3 / EVICTIONS_PER_SECOND + RETRY_SECONDS


@pytest.mark.parametrize("return_seconds", [0.02, 0.25])
def test_of_the_scrapes_beside_exact_likenesses_that_come_again_99_of_100_wait_no_longer_than_the_recent(
    return_seconds: float,
) -> None:
    """Once all have come. The newest first alone would leave 5 of 100 behind, as often as not to the end."""
    found = waits(1.5, [Flood(return_seconds, lambda _: SCRAPE)], 24)
    assert sum(each > RECENT_SECONDS + RETRY_SECONDS for each in found) < len(found) / 100
