"""Visitors see what a busy owner works on, and nobody sees it half-way."""

import sys
import threading

import pytest

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
