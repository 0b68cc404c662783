"""Visitors see what a busy owner works on, and nobody sees it half-way."""

import sys
import threading
from functools import partial

import pytest

from exporter.runtime import fair_lock as module
from exporter.runtime.fair_lock import PIECE_SECONDS, FairLock, ReadAccess
from tests.support.waiting import eventually

FOREVER_SECONDS = 1000.0


def visit(read_access: ReadAccess, seen: list[bool]) -> threading.Thread:
    """A thread that visits once, and notes whether the owner was shut out meanwhile."""

    def enter() -> None:
        with read_access:
            seen.append(read_access._lock._is_held)

    thread = threading.Thread(target=enter)
    thread.start()
    return thread


def _are_waiting(lock: FairLock, number: int) -> bool:
    return len(lock._waiting) == number


def test_a_lock_goes_to_the_thread_that_has_waited_longest_and_not_to_the_one_that_has_just_let_go() -> None:
    """Not even when that thread never rests: here no thread is ever interrupted."""
    lock, order = FairLock(), list[str]()

    def take(name: str) -> None:
        for _ in range(3):
            with lock:
                order.append(name)

    with lock:
        threads = [threading.Thread(target=take, args=(name,)) for name in "ab"]
        for number, thread in enumerate(threads, 1):
            thread.start()
            eventually(partial(_are_waiting, lock, number))
    for thread in threads:
        thread.join()
    assert order == ["a", "b"] * 3
    assert not lock._is_held


def test_an_owner_that_yields_goes_on_after_the_threads_that_wait_once_its_time_is_over() -> None:
    """At once when there are none; its time begins again after them."""
    now = 0.0
    lock, order = FairLock(lambda: now), list[str]()

    def visit() -> None:
        with lock:
            order.append("visitor")

    def owner(seconds: float) -> None:
        nonlocal now
        now += seconds
        lock.yield_to_waiters()
        order.append("owner")

    with lock:
        owner(10 * PIECE_SECONDS)
    with lock:
        threads = [threading.Thread(target=visit) for _ in range(2)]
        for number, thread in enumerate(threads, 1):
            thread.start()
            eventually(partial(_are_waiting, lock, number))
        owner(0.9 * PIECE_SECONDS)
        owner(0.1 * PIECE_SECONDS)
        third = threading.Thread(target=visit)
        third.start()
        eventually(partial(_are_waiting, lock, 1))
        owner(0.9 * PIECE_SECONDS)
    for thread in (*threads, third):
        thread.join()
    assert order == ["owner", "owner", "visitor", "visitor", "owner", "owner", "visitor"]
    assert not lock._is_held


def test_visitor_is_let_in_by_an_owner_who_never_rests(request: pytest.FixtureRequest) -> None:
    """No thread is ever interrupted here, so whoever waits depends on the owner."""
    lock, seen = FairLock(), list[bool]()
    read_access = ReadAccess(lock)
    before = sys.getswitchinterval()
    request.addfinalizer(lambda: sys.setswitchinterval(before))
    with lock:
        thread = visit(read_access, seen)
        eventually(lambda: bool(lock._waiting))
        sys.setswitchinterval(FOREVER_SECONDS)
    with lock:
        sum(range(30_000))  # a piece of work
    assert seen == [True]
    thread.join()


def test_visitors_come_one_after_another_and_the_owner_between_two() -> None:
    """However many wait: at most one of them waits for the lock itself."""
    lock, seen = FairLock(), list[bool]()
    read_access = ReadAccess(lock)
    with lock:
        threads = [visit(read_access, seen) for _ in range(3)]
        eventually(lambda: bool(lock._waiting))
        assert (len(lock._waiting), seen) == (1, [])
    for thread in threads:
        thread.join()
    assert seen == [True, True, True]
    assert not lock._is_held


def test_a_visit_that_fails_ends_as_well() -> None:
    lock = FairLock()
    with pytest.raises(ValueError, match="wrong"), ReadAccess(lock):
        raise ValueError("wrong")
    assert not lock._is_held


@pytest.mark.parametrize(("visit_seconds", "visits_made"), [(0.0, 5), (FOREVER_SECONDS, 1)])
def test_many_items_are_looked_at_in_visits_that_end_in_time(
    monkeypatch: pytest.MonkeyPatch, visit_seconds: float, visits_made: int
) -> None:
    """Each look is within a visit; one that takes as long as a visit may take is the last of it."""
    monkeypatch.setattr(module, "VISIT_SECONDS", visit_seconds)
    read_access = Counted(FairLock())
    seen = list(read_access.each(range(5), lambda item: (item, read_access.made, read_access._lock._is_held)))
    assert [item for item, _, _ in seen] == list(range(5))
    assert all(is_held for _, _, is_held in seen)
    assert read_access.made == visits_made
    assert not read_access._lock._is_held


def test_the_owner_has_its_turn_between_two_visits() -> None:
    """What was seen in a visit is used outside of it; nobody visits who has nothing to look at."""
    read_access = Counted(FairLock())
    assert [read_access._lock._is_held for _ in read_access.each(range(3), lambda item: item)] == [False] * 3
    made = read_access.made
    assert list(read_access.each([], lambda item: item)) == []
    assert read_access.made == made


class Counted(ReadAccess):
    """Visits that are counted."""

    made = 0

    def __enter__(self) -> None:
        super().__enter__()
        self.made += 1
