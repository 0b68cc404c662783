"""Which TLS client is served next, and how long a handshake and a request take in a flood. No clock runs."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.flows import Flow, FlowCounts
from exporter.web.handshake_order import MESSAGES_EXPECTED, RECENT_SECONDS, in_order
from exporter.web.handshakes import SERVED_MAX

HOSTILE = 2000
# What serving a message takes, the first one twice what it does with RSA on a machine with nothing else, and an answer.
BEGIN_SECONDS, GO_ON_SECONDS, ANSWER_SECONDS = 0.0006, 0.00005, 0.001
ARRIVE_SECONDS = 0.5
A, HOME = Flow("a"), Flow("127.0.0.1")


@dataclass(eq=False)
class Client:
    """See handshake_order; `name` is for the test."""

    name: str
    flow: Flow
    number: int
    since: float = 0.0
    messages: int = 0


def ordered(*clients: Client, now: float = 0.0, connections: str = "") -> list[str]:
    """Names in their order; `connections` has a letter for each of a network, in addition to those of the clients."""
    counts = FlowCounts()
    for flow in [*map(Flow, connections), *(client.flow for client in clients)]:
        counts.add(flow)
    return [client.name for client in in_order(clients, counts, now)]


def test_a_network_with_few_connections_comes_before_one_with_many_and_so_does_a_message_unlike_others() -> None:
    many, few, unlike = (
        Client("many", A, 1, messages=1),
        Client("few", Flow("b"), 2),
        Client("unlike", Flow("a", 1, 1), 3),
    )
    assert ordered(many, few, unlike, connections="aaa") == ["unlike", "few", "many"]


def test_those_that_answer_come_before_those_that_begin_and_those_that_drip_take_turns_with_these() -> None:
    begin = [Client(f"new {number}", A, number) for number in (1, 2)]
    answer = [Client(f"answer {number}", A, number, messages=number - 2) for number in (3, 5)]
    drip = [Client(f"drip {number}", A, number, messages=MESSAGES_EXPECTED) for number in (6, 7)]
    found = ordered(*drip, *begin, *answer)
    assert found == ["answer 5", "answer 3", "new 2", "drip 7", "new 1", "drip 6"]


def test_every_other_one_is_the_oldest_that_has_not_waited_long() -> None:
    clients = [Client(str(number), A, number, since=0.0 if number < 2 else 1.0) for number in range(6)]
    assert ordered(*clients, now=1.0 + RECENT_SECONDS) == ["5", "2", "4", "3", "1", "0"]


CLIENTS = st.builds(
    Client,
    st.just("x"),
    st.builds(Flow, st.sampled_from("ab"), st.integers(0, 9)),
    st.integers(),
    st.floats(0, 1),
    st.integers(0, 2 * MESSAGES_EXPECTED),
)


@given(st.lists(CLIENTS, unique_by=lambda client: client.number), st.floats(1, 2))
def test_everything_is_served_once(clients: list[Client], now: float) -> None:
    counts = FlowCounts()
    for client in clients:
        counts.add(client.flow)
    assert sorted(client.number for client in in_order(clients, counts, now)) == sorted(each.number for each in clients)


class Flood:
    """A thread that serves turns: half-open handshakes, clients that drip, and in their midst one that asks."""

    def __init__(self, begin: float, dripping: int) -> None:
        self._begin = begin
        moments = [(0.0, "drip")] * dripping + [(begin, "asks")]
        moments += [(number * ARRIVE_SECONDS / HOSTILE, "half") for number in range(HOSTILE)]
        self._counts = FlowCounts()
        self._arrivals: list[tuple[float, int, Client]] = []
        for number, (moment, name) in enumerate(sorted(moments)):
            messages = MESSAGES_EXPECTED if name == "drip" else 0
            self._arrivals.append((moment, number, Client(name, HOME, number, moment, messages)))
            self._counts.add(HOME)

    def seconds(self) -> float:
        """How long it takes until the request of the one that asks has arrived."""
        now, ready = 0.0, dict[int, Client]()
        while True:
            now = max(now, 0.0 if ready else self._arrivals[0][0])
            while self._arrivals and self._arrivals[0][0] <= now:
                _, number, arrived = heappop(self._arrivals)
                ready[number] = arrived
            for client in [*islice(in_order(ready.values(), self._counts, now), SERVED_MAX)]:
                del ready[client.number]
                now = self._serve(client, now)
                if (client.name, client.messages) == ("asks", 2):
                    return now - self._begin

    def _serve(self, client: Client, now: float) -> float:
        now += GO_ON_SECONDS if client.messages else BEGIN_SECONDS
        client.messages += 1
        if client.name != "half":
            heappush(self._arrivals, (now + ANSWER_SECONDS, client.number, client))
        return now


@pytest.mark.parametrize("dripping", [0, HOSTILE])
@pytest.mark.parametrize("begin", [0.0, 0.05, 0.1, 0.25, 0.4, 0.5, 1.0])
def test_a_handshake_amid_a_burst_of_half_open_ones_ends_within_a_second(begin: float, dripping: int) -> None:
    """Also beside as many clients that send something all the time. The newest first would take up to 1.1 s."""
    assert Flood(begin, dripping).seconds() < 1
