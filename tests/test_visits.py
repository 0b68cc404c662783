"""Visitors see what a busy owner works on, and nobody sees it half-way."""

import sys
import threading

import pytest

from exporter import visits as module
from exporter.visits import Visits
from tests.support.waiting import eventually

FOREVER_SECONDS = 1000.0


def visit(visits: Visits, seen: list[bool], lock: threading.Lock) -> threading.Thread:
    """A thread that visits once, and notes whether the owner was shut out meanwhile."""

    def enter() -> None:
        with visits:
            seen.append(lock.locked())

    thread = threading.Thread(target=enter)
    thread.start()
    return thread


def test_visitor_is_let_in_by_an_owner_who_never_rests(request: pytest.FixtureRequest) -> None:
    """No thread is ever interrupted here, so whoever waits depends on the owner."""
    lock, seen = threading.Lock(), list[bool]()
    visits = Visits(lock)
    before = sys.getswitchinterval()
    request.addfinalizer(lambda: sys.setswitchinterval(before))
    with lock:
        thread = visit(visits, seen, lock)
        eventually(lambda: visits._is_awaited)
        sys.setswitchinterval(FOREVER_SECONDS)
    for _ in range(2):
        visits.give_way()
        with lock:
            sum(range(30_000))  # a piece of work
    assert seen == [True]
    thread.join()


def test_visitors_come_one_after_another() -> None:
    lock, seen = threading.Lock(), list[bool]()
    visits = Visits(lock)
    with visits:
        threads = [visit(visits, seen, lock) for _ in range(3)]
        assert not seen
    for thread in threads:
        thread.join()
    assert seen == [True, True, True]
    assert not lock.locked()


def test_a_visit_that_fails_ends_as_well() -> None:
    lock = threading.Lock()
    with pytest.raises(ValueError, match="wrong"), Visits(lock):
        raise ValueError("wrong")
    assert not lock.locked()


@pytest.mark.parametrize(("visit_seconds", "visits_made"), [(0.0, 5), (FOREVER_SECONDS, 1)])
def test_many_items_are_looked_at_in_visits_that_end_in_time(
    monkeypatch: pytest.MonkeyPatch, visit_seconds: float, visits_made: int
) -> None:
    """Each look is within a visit; one that takes as long as a visit may take is the last of it."""
    monkeypatch.setattr(module, "VISIT_SECONDS", visit_seconds)
    lock = threading.Lock()
    visits = Visits(lock)
    seen = list(visits.each(range(5), lambda item: (item, lock.locked())))
    assert seen == [(item, True) for item in range(5)]
    assert visits._visits == visits_made
    assert not lock.locked()


def test_the_owner_has_its_turn_between_two_visits() -> None:
    """What was seen in a visit is used outside of it; nobody visits who has nothing to look at."""
    lock = threading.Lock()
    visits = Visits(lock)
    assert [lock.locked() for _ in visits.each(range(3), lambda item: item)] == [False] * 3
    made = visits._visits
    assert list(visits.each([], lambda item: item)) == []
    assert visits._visits == made
