"""A worker makes each call once, in order, and tells how it ended: the real one, and that of the publisher's tests."""

import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import NoReturn

import pytest

from exporter.runtime.worker import Task, ThreadWorker, Worker
from tests.fakes import ManualClock, ManualWorker
from tests.support.waiting import eventually

ENDED_SECONDS = 10.0
WORKERS: dict[str, Callable[[], Worker]] = {
    "thread": lambda: ThreadWorker("worker"),
    "manual": lambda: ManualWorker(ManualClock()),
}


@pytest.fixture(params=list(WORKERS))
def worker(request: pytest.FixtureRequest) -> Worker:
    """One that has nothing to do yet."""
    return WORKERS[request.param]()


def fail() -> NoReturn:
    """What cannot be done."""
    raise LookupError("nothing there")


def test_what_a_call_returned_is_its_result(worker: Worker) -> None:
    call = worker.submit(lambda: "answer")
    assert call.wait(ENDED_SECONDS)
    assert call.done()
    assert call.result() == "answer"


def test_what_a_call_raised_is_raised_again_and_the_next_one_is_made(worker: Worker) -> None:
    failing, next_one = worker.submit(fail), worker.submit(lambda: "answer")
    assert next_one.wait(ENDED_SECONDS)
    assert failing.done()
    with pytest.raises(LookupError, match="nothing there"):
        failing.result()
    assert next_one.result() == "answer"


def test_calls_are_made_once_each_in_the_order_of_submission(worker: Worker) -> None:
    """Whoever waits for the last has waited for all; waiting again makes none again."""
    made: list[int] = []
    calls = [worker.submit(lambda number=number: made.append(number)) for number in range(5)]  # type: ignore[misc]
    for call in reversed(calls):
        assert call.wait(ENDED_SECONDS)
    assert made == [0, 1, 2, 3, 4]


def test_what_a_failed_call_held_is_let_go_once_its_error_is_known(worker: Worker) -> None:
    """At once, not when the garbage collector comes by: it may be a producer with its threads."""
    held: list[weakref.ref[Event]] = []

    def fail_with_something() -> NoReturn:
        something = Event()
        held.append(weakref.ref(something))
        raise LookupError

    def ask() -> None:
        failing = worker.submit(fail_with_something)
        assert failing.wait(ENDED_SECONDS)
        with suppress(LookupError):
            failing.result()

    gc.disable()
    try:
        ask()
        eventually(lambda: held[0]() is None)
    finally:
        gc.enable()


def test_a_call_may_be_submitted_while_another_is_under_way(worker: Worker) -> None:
    """It is made afterwards."""
    made: list[str] = []

    def first() -> None:
        second.append(worker.submit(lambda: made.append("second")))
        made.append("first")

    second: list[Task[None]] = []
    assert worker.submit(first).wait(ENDED_SECONDS)
    assert second[0].wait(ENDED_SECONDS)
    assert made == ["first", "second"]


def test_a_worker_that_is_told_to_stop_still_makes_what_was_submitted(worker: Worker) -> None:
    calls = [worker.submit(lambda: "answer") for _ in range(2)]
    worker.stop()
    assert [call.wait(ENDED_SECONDS) for call in calls] == [True, True]


def test_who_submits_to_a_thread_waits_for_no_call_but_calls_wait_for_each_other() -> None:
    """Neither does who waits for a while; a call is not done until it ends, and the next one not begun."""
    ending, worker = Event(), ThreadWorker("worker")
    call, next_one = worker.submit(lambda: ending.wait(ENDED_SECONDS)), worker.submit(ending.is_set)
    assert not call.wait(0.01)
    assert not call.done()
    assert not next_one.done()
    ending.set()
    assert next_one.wait(ENDED_SECONDS)
    assert call.result()
    assert next_one.result()
