"""Clients of keys, and the oldest of those of which there are most."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.web.counts import Crowds


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9))))
def test_the_oldest_is_of_a_key_with_the_most_clients(steps: list[tuple[str, int]]) -> None:
    """A step adds a client of a key, or removes the one that is there."""
    crowds, clients = Crowds[str, tuple[str, int]](), dict[str, list[int]]()
    for key, number in steps:
        own = clients.setdefault(key, [])
        if number in own:
            crowds.remove(key, (key, number))
            own.remove(number)
        else:
            crowds.add(key, (key, number))
            own.append(number)
        most = max(map(len, clients.values()))
        if most:
            assert crowds.oldest() in [(key, own[0]) for key, own in clients.items() if len(own) == most]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers()), unique=True))
def test_taking_the_oldest_leaves_nothing(clients: list[tuple[str, int]]) -> None:
    crowds = Crowds[str, tuple[str, int]]()
    for client in clients:
        crowds.add(client[0], client)
    taken = []
    for _ in clients:
        taken.append(crowds.oldest())
        crowds.remove(taken[-1][0], taken[-1])
    assert sorted(taken) == sorted(clients)
