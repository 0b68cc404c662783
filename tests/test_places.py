"""Which active connection loses its place, and which bodies are held. No clock runs."""

from __future__ import annotations

from exporter.web.flows import Flow
from exporter.web.places import CROWDED_SECONDS, SLOW_SECONDS, Places


def places_of(*clients: str, limit: int = 10) -> Places[str]:
    """Places of these, all since 0; the first letter of a client is its network, the second one its group."""
    places = Places[str](limit, 100)
    groups = {"w": places.waiting, "t": places.transferring, "i": places.idle, "s": places.streaming}
    for client in clients:
        places.add(client, Flow(client[0]), 0.0, 10.0)
        places.move(client, groups[client[1]], 0.0)
    return places


def test_an_idle_client_loses_its_place_at_once() -> None:
    assert places_of("at1", "aw1", "ai1", "bi1").replaceable(0.0) == "ai1"


def test_a_client_that_keeps_the_server_waiting_loses_its_place_after_a_second() -> None:
    places = places_of("aw1", "at1")
    assert places.replaceable(SLOW_SECONDS - 0.01) is None
    assert places.replaceable(SLOW_SECONDS) == "at1"


def test_it_loses_its_place_sooner_when_more_than_half_of_the_places_are_held_so() -> None:
    half, more = places_of("at1", "at2", limit=4), places_of("at1", "at2", "at3", limit=4)
    assert (half.replaceable(CROWDED_SECONDS), more.replaceable(CROWDED_SECONDS)) == (None, "at1")


def test_a_client_that_waits_for_its_response_loses_its_place_last_and_a_stream_never() -> None:
    places = places_of("as1", "aw1", "at1")
    places.move("at1", places.transferring, SLOW_SECONDS / 2)
    assert places.replaceable(SLOW_SECONDS) == "aw1"
    assert places_of("as1").replaceable(100.0) is None


def test_a_place_of_a_network_with_more_is_taken_although_that_of_another_is_older() -> None:
    places = places_of("bt1", "at1", "at2")
    assert places.replaceable(SLOW_SECONDS) == "at1"
    places.remove("at1")
    assert places.replaceable(SLOW_SECONDS) == "bt1"


def test_the_time_of_a_place_begins_again_with_its_limit_only() -> None:
    places = places_of("at1")
    places.move("at1", places.waiting, 9.0)
    assert places.late(10.1) == ["at1"]
    places.move("at1", places.idle, 9.0, 5.0)
    assert (places.late(14.0), places.late(14.1)) == ([], ["at1"])


def test_bodies_that_exceed_the_memory_are_given_up_from_the_client_that_read_nothing_for_longest() -> None:
    places = places_of("at1", "at2", "at3", "at4")
    for client, size in (("at1", 60), ("at2", 60), ("at4", 60)):
        places.hold_body(client, (bytes(size),))
    given_up = []
    for client in places.unread("at4"):
        given_up.append(client)
        places.remove(client)
    assert given_up == ["at1", "at2"]


def test_one_that_waits_for_a_slow_response_keeps_its_place_when_it_is_unlike_a_flood_from_its_own_network() -> None:
    places = Places[str](10, 100)
    for number, client in enumerate(("scrape", "flood 1", "flood 2", "flood 3")):
        places.add(client, Flow("a") if client == "scrape" else Flow("a", 1, 1), number / 100, 10.0)
    assert places.replaceable(SLOW_SECONDS + 1) == "flood 1"
