"""What is handed over is done once by the owner, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from exporter.runtime.handover import Handover, NotTaken
from tests.support.waiting import eventually

LONG = 10.0


@pytest.fixture
def others() -> Iterator[ThreadPoolExecutor]:
    """Other threads."""
    with ThreadPoolExecutor(8) as executor:
        yield executor


def test_calls_are_made_by_the_owner_in_their_order_and_only_once(others: ThreadPoolExecutor) -> None:
    handover, made = Handover(), list[tuple[int, threading.Thread]]()
    asked = []
    for number in range(4):
        call = lambda number=number: made.append((number, threading.current_thread()))  # noqa: E731
        asked.append(others.submit(handover.run, call, LONG))
        eventually(lambda number=number: len(handover.waiting) == number + 1)  # type: ignore[misc]
    assert not made
    handover.take()
    handover.take()
    assert [each.result(LONG) for each in asked] == [None] * 4
    assert made == [(number, threading.current_thread()) for number in range(4)]


def test_the_error_of_a_call_is_that_of_who_asked_and_not_the_owners(others: ThreadPoolExecutor) -> None:
    handover = Handover()
    asked = others.submit(handover.run, lambda: [][0], LONG)
    eventually(lambda: handover.waiting)
    handover.take()
    with pytest.raises(IndexError):
        asked.result(LONG)


def test_a_call_that_is_not_begun_in_time_is_never_made() -> None:
    handover, made = Handover(), list[int]()
    with pytest.raises(NotTaken):
        handover.run(lambda: made.append(1), 0.01)
    handover.take()
    assert not made


def test_an_owner_that_ends_refuses_what_waits_and_what_comes(others: ThreadPoolExecutor) -> None:
    handover, made = Handover(), list[int]()
    waiting = [others.submit(handover.run, lambda: made.append(1), LONG) for _ in range(4)]
    eventually(lambda: len(handover.waiting) == 4)
    handover.close()
    for each in waiting:
        with pytest.raises(NotTaken):
            each.result(LONG)
    with pytest.raises(NotTaken):
        handover.run(lambda: made.append(1), LONG)
    assert not made
