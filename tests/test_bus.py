"""The event bus: what one handler does, no other notices; every event ends in one of the counted ways."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter.instrument import MetricsCollector
from exporter.performance import EventBus, EventDrivenArchitecture

SHORT = 0.02


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of this test's own."""
    return CollectorRegistry()


@pytest.fixture
def bus(registry: CollectorRegistry) -> EventBus:
    """A bus whose metrics follow the conventions."""
    return EventBus(collector=MetricsCollector(registry=registry, strict=True))


async def hang(payload: object) -> None:
    await asyncio.Event().wait()


def figures(bus: EventBus, name: str) -> dict[str, Any]:
    """What is counted of a handler, without what is zero."""
    found = bus.get_statistics()["handlers"][name]
    return {key: found[key] for key in ("handled", "failed", "timed_out", "dropped", "retried") if found[key]}


def remembering(bus: EventBus, event: str = "tick", **options: Any) -> list[Any]:
    """Subscribe a handler that remembers; return what it got."""
    seen: list[Any] = []

    async def remember(payload: object) -> None:
        seen.append(payload)

    bus.subscribe(event, remember, name="remember", **options)
    return seen


def run(bus: EventBus, publish: Callable[[], Awaitable[object]], limit: float = 10.0) -> int:
    """Publish on a running bus and drain it; return how many events were left."""

    async def main() -> int:
        await bus.start()
        await publish()
        return await bus.stop(limit)

    return asyncio.run(main())


async def publish_numbers(bus: EventBus, number: int) -> None:
    for each in range(number):
        await bus.publish("tick", each)


def test_events_come_to_their_handlers_in_order(bus: EventBus) -> None:
    seen, other = remembering(bus), []

    async def handler(payload: object) -> None:
        other.append(payload)

    bus.subscribe("order", handler)
    assert run(bus, lambda: publish_numbers(bus, 500)) == 0
    assert (seen, other) == (list(range(500)), [])


def test_the_name_of_the_architecture_is_accepted() -> None:
    assert EventDrivenArchitecture is EventBus


def test_a_handler_that_hangs_or_fails_delays_no_other(bus: EventBus, caplog: pytest.LogCaptureFixture) -> None:
    seen = remembering(bus)

    async def fail(payload: object) -> None:
        raise ValueError("no")

    bus.subscribe("tick", hang, name="hang")
    bus.subscribe("tick", fail, name="fail")
    with caplog.at_level(logging.WARNING, "exporter.performance"):
        assert run(bus, lambda: publish_numbers(bus, 1000), 0.05) == 1000
    assert seen == list(range(1000))
    assert figures(bus, "fail") == {"failed": 1000}
    assert figures(bus, "hang") == {"dropped": 1000}
    assert [record.getMessage() for record in caplog.records] == ["handler fail fails, event tick: no"]


def test_a_handler_that_never_waits_leaves_others_their_turns(bus: EventBus) -> None:
    seen = remembering(bus)
    turns: list[int] = []

    async def main() -> None:
        for number in range(1000):
            bus.publish_nowait("tick", number)
        await bus.start()
        while len(seen) < 1000:
            await asyncio.sleep(0)
            turns.append(len(seen))
        await bus.stop()

    asyncio.run(main())
    assert len(turns) >= 10


def test_a_handler_is_cancelled_after_its_time(bus: EventBus) -> None:
    cancelled = []

    async def slow(payload: object) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(payload)
            raise

    bus.subscribe("tick", slow, name="slow", time_limit=SHORT)
    assert run(bus, lambda: publish_numbers(bus, 3)) == 0
    assert cancelled == [0, 1, 2]
    assert figures(bus, "slow") == {"timed_out": 3}


def test_a_handler_that_answers_its_cancellation_was_late_and_the_next_event_is_handled(bus: EventBus) -> None:
    async def stubborn(payload: int) -> None:
        if payload == 0:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)

    bus.subscribe("tick", stubborn, name="stubborn", time_limit=SHORT)
    assert run(bus, lambda: publish_numbers(bus, 3)) == 0
    assert figures(bus, "stubborn") == {"timed_out": 1, "handled": 2}


def test_a_handler_that_raises_a_cancellation_of_its_own_has_failed(bus: EventBus) -> None:
    async def cancelled(payload: object) -> None:
        raise asyncio.CancelledError

    bus.subscribe("tick", cancelled, name="cancelled")
    run(bus, lambda: publish_numbers(bus, 2))
    assert figures(bus, "cancelled") == {"failed": 2}


@pytest.mark.parametrize(
    ("failures", "expected"), [(2, {"handled": 1, "retried": 2}), (9, {"failed": 1, "retried": 2})]
)
def test_a_failure_is_repeated(bus: EventBus, failures: int, expected: dict[str, int]) -> None:
    attempts = []

    async def flaky(payload: object) -> None:
        attempts.append(payload)
        if len(attempts) <= failures:
            raise OSError

    bus.subscribe("tick", flaky, name="flaky", max_retries=2, retry_delay=0)
    run(bus, lambda: publish_numbers(bus, 1))
    assert figures(bus, "flaky") == expected


def test_a_late_attempt_is_repeated(bus: EventBus) -> None:
    attempts = []

    async def slow_once(payload: object) -> None:
        attempts.append(payload)
        if len(attempts) == 1:
            await asyncio.Event().wait()

    bus.subscribe("tick", slow_once, name="slow", max_retries=1, retry_delay=0, time_limit=SHORT)
    run(bus, lambda: publish_numbers(bus, 1))
    assert figures(bus, "slow") == {"handled": 1, "retried": 1}


def test_a_full_queue_drops_and_never_waits(bus: EventBus) -> None:
    bus.subscribe("tick", hang, name="hang", queue_capacity=10)
    run(bus, lambda: publish_numbers(bus, 100), 0.0)
    found = bus.get_statistics()["handlers"]["hang"]
    assert found["dropped_by_reason"] == {"full": 89, "stopped": 0, "unfinished": 11}


def test_a_publisher_may_wait_for_room(bus: EventBus) -> None:
    """All events are handled, and no more of them wait than there is room for."""
    lengths: list[int] = []
    seen: list[Any] = []

    async def slow(payload: object) -> None:
        await asyncio.sleep(0)
        seen.append(payload)
        lengths.append(bus.get_statistics()["handlers"]["slow"]["queue_length"])

    bus.subscribe("tick", slow, name="slow", queue_capacity=3, when_full="wait")

    async def publish() -> None:
        await asyncio.gather(*[publish_numbers(bus, 50) for _ in range(4)])

    assert run(bus, publish) == 0
    assert sorted(seen) == sorted(list(range(50)) * 4)
    assert max(lengths) == 3


def test_a_waiting_publisher_ends_with_the_bus(bus: EventBus) -> None:
    bus.subscribe("tick", hang, name="hang", queue_capacity=1, when_full="wait")

    async def main() -> int:
        await bus.start()
        publisher = asyncio.create_task(publish_numbers(bus, 3))
        while bus.get_statistics()["published"] < 3:
            await asyncio.sleep(0)
        rest = await bus.stop(0.0)
        await publisher
        return rest

    assert asyncio.run(main()) == 2
    assert bus.get_statistics()["handlers"]["hang"]["dropped_by_reason"] == {"full": 0, "stopped": 1, "unfinished": 2}


def test_events_of_before_the_start_are_handled(bus: EventBus) -> None:
    seen = remembering(bus)
    assert bus.publish_nowait("tick", 1) == 1
    run(bus, lambda: publish_numbers(bus, 1))
    assert seen == [1, 0]


def test_events_of_after_the_end_are_dropped(bus: EventBus) -> None:
    seen = remembering(bus)
    run(bus, lambda: publish_numbers(bus, 1))
    assert bus.publish_nowait("tick", 2) == 0
    assert seen == [0]
    assert bus.get_statistics()["handlers"]["remember"]["dropped_by_reason"]["stopped"] == 1
    with pytest.raises(RuntimeError, match="was stopped"):
        asyncio.run(bus.start())


def test_events_without_a_handler_are_counted(bus: EventBus) -> None:
    run(bus, lambda: publish_numbers(bus, 3))
    found = bus.get_statistics()
    assert (found["published"], found["unhandled"], found["handlers"]) == (3, 3, {})


def test_the_end_has_its_limit_even_with_a_handler_that_cannot_be_cancelled(
    bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    released = asyncio.Event()

    async def endless(payload: object) -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    bus.subscribe("tick", endless, name="endless")

    async def main() -> int:
        async with bus:
            await publish_numbers(bus, 2)
            await asyncio.sleep(0)
            rest = await bus.stop(0.0)
            released.set()
            await asyncio.wait(bus._tasks.values())
        return rest

    with caplog.at_level(logging.WARNING, "exporter.performance"):
        assert asyncio.run(main()) == 2
    assert "handler endless does not end when it is cancelled" in [record.getMessage() for record in caplog.records]


def test_threads_publish(bus: EventBus) -> None:
    seen = remembering(bus, queue_capacity=10_000)

    def publish() -> None:
        for number in range(1000):
            bus.publish_nowait("tick", number)

    async def from_threads() -> None:
        await asyncio.gather(*[asyncio.to_thread(publish) for _ in range(4)])

    assert run(bus, from_threads) == 0
    assert Counter(seen) == dict.fromkeys(range(1000), 4)


def test_a_thread_wakes_an_idle_bus(bus: EventBus) -> None:
    handled = threading.Event()

    async def handler(payload: object) -> None:
        handled.set()

    bus.subscribe("tick", handler)

    async def publish() -> None:
        await asyncio.sleep(0)
        await asyncio.to_thread(bus.publish_nowait, "tick")
        await asyncio.to_thread(handled.wait)

    assert run(bus, publish) == 0


def test_a_handler_may_publish(bus: EventBus) -> None:
    seen = remembering(bus, "done")

    async def handler(payload: object) -> None:
        await bus.publish("done", payload)

    bus.subscribe("tick", handler)
    run(bus, lambda: publish_numbers(bus, 10))
    assert len(seen) + bus.get_statistics()["handlers"]["remember"]["dropped"] == 10


def test_one_queue_for_all_events_of_a_handler_keeps_their_order(bus: EventBus) -> None:
    seen: list[Any] = []

    async def handler(payload: object) -> None:
        seen.append(payload)

    for event in ("bid", "ask", "bid"):
        bus.subscribe(event, handler)

    async def publish() -> None:
        for number in range(100):
            await bus.publish(("bid", "ask")[number % 2], number)

    run(bus, publish)
    assert seen == list(range(100))


def test_a_handler_that_is_subscribed_later_is_called(bus: EventBus) -> None:
    seen: list[Any] = []

    async def main() -> None:
        async with bus:
            seen.extend([remembering(bus)])
            await bus.publish("tick", 1)

    asyncio.run(main())
    assert seen == [[1]]


def test_what_is_no_coroutine_function_is_refused(bus: EventBus) -> None:
    for wrong in (print, lambda payload: None, 7):
        with pytest.raises(TypeError):
            bus.subscribe("tick", wrong)  # type: ignore[arg-type]


def test_a_name_is_of_one_handler(bus: EventBus) -> None:
    remembering(bus)
    with pytest.raises(ValueError, match="is subscribed already"):
        bus.subscribe("tick", hang, name="remember")


@pytest.mark.parametrize(
    "options",
    [{"queue_capacity": 0}, {"time_limit": 0}, {"max_retries": -1}, {"retry_delay": -1}, {"when_full": "block"}],
)
def test_impossible_options_are_refused(bus: EventBus, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|'drop' or 'wait'"):
        bus.subscribe("tick", hang, **options)


def test_all_that_is_counted_is_a_metric(bus: EventBus, registry: CollectorRegistry) -> None:
    remembering(bus)
    bus.subscribe("tick", hang, name="hang", queue_capacity=2)
    run(bus, lambda: publish_numbers(bus, 10), 0.0)
    labels = {"bus": "bus", "event": "tick", "handler": "remember", "result": "handled"}
    assert registry.get_sample_value("program_bus_events_total", labels) == 10
    labels |= {"bus": "bus", "handler": "hang", "result": "dropped"}
    assert registry.get_sample_value("program_bus_events_total", labels) == 10
    assert (
        registry.get_sample_value("program_bus_dropped_total", {"bus": "bus", "handler": "hang", "reason": "full"}) == 8
    )
    assert registry.get_sample_value("program_bus_queue_capacity", {"bus": "bus", "handler": "hang"}) == 2
    assert registry.get_sample_value("program_bus_queue_length", {"bus": "bus", "handler": "hang"}) == 0
    assert registry.get_sample_value("program_bus_duration_seconds_count", {"bus": "bus", "handler": "remember"}) == 10


def test_two_buses_of_one_program_are_told_apart(registry: CollectorRegistry) -> None:
    collector = MetricsCollector(registry=registry)
    for name, events in (("orders", 3), ("prices", 5)):
        bus = EventBus(name, collector=collector)
        remembering(bus)
        run(bus, partial(publish_numbers, bus, events))
    for name, events in (("orders", 3), ("prices", 5)):
        labels = {"bus": name, "event": "tick", "handler": "remember", "result": "handled"}
        assert registry.get_sample_value("program_bus_events_total", labels) == events


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from(["good", "bad", "late", "cancelled"]), max_size=12), st.integers(1, 4), st.integers(0, 2)
)
def test_each_event_ends_in_one_way(kinds: list[str], capacity: int, retries: int) -> None:
    bus = EventBus(collector=MetricsCollector(registry=CollectorRegistry()))

    async def handler(kind: str) -> None:
        if kind == "bad":
            raise ValueError(kind)
        if kind == "cancelled":
            raise asyncio.CancelledError
        if kind == "late":
            await asyncio.Event().wait()

    bus.subscribe(
        "tick", handler, name="h", queue_capacity=capacity, max_retries=retries, retry_delay=0, time_limit=0.001
    )

    async def publish() -> None:
        for kind in kinds:
            await bus.publish("tick", kind)
            await asyncio.sleep(0)

    left = run(bus, publish)
    found = Counter(figures(bus, "h"))
    assert left == 0
    assert found["handled"] + found["failed"] + found["timed_out"] + found["dropped"] == len(kinds)


def test_events_that_a_closed_event_loop_left_are_handled_in_the_next(bus: EventBus) -> None:
    """But for that which was being handled, which is counted as dropped."""
    seen = remembering(bus)
    bus.subscribe("slow", hang, time_limit=30)

    async def first() -> None:
        await bus.start()
        await bus.publish("slow")
        await asyncio.sleep(0)

    async def second() -> None:
        async with bus:
            await bus.publish("tick", 2)

    asyncio.run(first())
    assert bus.publish_nowait("tick", 1) == 1
    asyncio.run(second())
    assert seen == [1, 2]
    assert figures(bus, "hang") == {"dropped": 1}


def test_a_bus_works_in_one_event_loop_at_a_time(bus: EventBus) -> None:
    async def main() -> None:
        async with bus:
            with pytest.raises(RuntimeError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, bus.start())
            with pytest.raises(RuntimeError, match="subscribe in the event loop"):
                await asyncio.to_thread(bus.subscribe, "tick", hang)
        assert bus.get_statistics()["handlers"] == {}

    asyncio.run(main())
