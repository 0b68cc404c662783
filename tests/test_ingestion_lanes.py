"""One partition in the event loop: what counts as handled when it is released while a handler runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from confluent_kafka import Message

from exporter.ingestion.handling import Retries
from exporter.ingestion.lanes import Lane
from exporter.model import Partition


async def settle() -> None:
    """Let all that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


def released(
    handle: Callable[[Lane, Message], Awaitable[None]],
    release: Callable[[Lane], None],
    is_stopped: Callable[[], bool] = lambda: False,
) -> tuple[list[int], bool, list[BaseException]]:
    """The offsets that are handled of 0, 1 and 2 when the lane is released, whether it has ended, and its failures."""

    async def program() -> tuple[list[int], bool, list[BaseException]]:
        failures: list[BaseException] = []
        lane = Lane(Partition("rates", 0), handle, failures.append, is_stopped)
        lane.start()
        lane.put([Message(topic="rates", partition=0, offset=offset, value=b"") for offset in range(3)])
        await settle()
        release(lane)
        await settle()
        return list(lane.handled), lane.ended.is_set(), failures

    return asyncio.run(program())


def close(lane: Lane) -> None:
    lane.close()


def close_and_cancel(lane: Lane) -> None:
    lane.close()
    lane.cancel()


async def hang_at_second(_: Lane, message: Message) -> None:
    if message.offset() == 1:
        await asyncio.Event().wait()


async def pause_at_second(lane: Lane, message: Message) -> None:
    if message.offset() == 1:
        await lane.pause(60)


async def fail_at_second(_: Lane, message: Message) -> None:
    if message.offset() == 1:
        raise GeneratorExit


async def nothing(_: Lane, message: Message) -> None:
    """Handle at once."""


def test_all_that_returned_is_handled() -> None:
    assert released(nothing, close) == ([0, 1, 2], True, [])


def test_a_handler_that_runs_is_waited_for() -> None:
    assert released(hang_at_second, close) == ([0], False, [])


def test_an_event_whose_handler_is_cancelled_is_not_handled_and_no_other_is_begun() -> None:
    assert released(hang_at_second, close_and_cancel) == ([0], True, [])


def test_an_event_between_two_attempts_is_abandoned_at_once() -> None:
    assert released(pause_at_second, close) == ([0], True, [])


def test_a_failure_beyond_errors_is_reported() -> None:
    handled, has_ended, failures = released(fail_at_second, nothing_more)
    assert (handled, has_ended, [type(error) for error in failures]) == ([0], True, [GeneratorExit])


def nothing_more(_: Lane) -> None:
    """Release nothing."""


def test_an_event_that_is_put_during_the_last_call_is_not_begun() -> None:
    begun: list[int | None] = []

    async def close_in_first(lane: Lane, message: Message) -> None:
        begun.append(message.offset())
        lane.close()

    assert released(close_in_first, nothing_more) == ([0], True, [])
    assert begun == [0]


def test_an_event_that_waits_when_the_consumer_is_stopped_is_not_begun() -> None:
    stops: list[None] = []

    async def stop_in_second(_: Lane, message: Message) -> None:
        if message.offset() == 1:
            stops.append(None)

    assert released(stop_in_second, nothing_more, lambda: bool(stops)) == ([0, 1], True, [])


def test_pauses_double_up_to_half_a_minute() -> None:
    retries = Retries(3, 0.5)
    assert [retries.delay_before(attempt) for attempt in (1, 2, 3, 7, 8, 10_000)] == [0.5, 1.0, 2.0, 30.0, 30.0, 30.0]
    assert Retries(1, 0.0).delay_before(1) == 0
