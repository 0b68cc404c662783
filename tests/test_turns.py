"""Turns are limited; the response of which most was sent has the next one, then the connection served longest ago."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from exporter.web.turns import Turns


async def order_of(served_at: list[float], limit: int) -> list[float]:
    """The order in which connections that ask at once get their turns."""
    turns, order = Turns(limit), list[float]()

    async def ask(at: float) -> None:
        await turns.take(at)
        order.append(at)

    await asyncio.gather(*map(ask, served_at))
    return order


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=40), st.integers(1, 4))
def test_those_that_wait_come_in_the_order_of_their_last_response(served_at: list[float], limit: int) -> None:
    order = asyncio.run(order_of(served_at, limit))
    assert order == served_at[:limit] + sorted(served_at[limit:])


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 3)), max_size=40))
def test_of_those_that_were_served_at_the_same_time_or_never_requests_unlike_others_come_first(
    asked: list[tuple[float, int]],
) -> None:
    async def order() -> list[tuple[float, int]]:
        turns, served = Turns(1), list[tuple[float, int]]()

        async def ask(served_at: float, alike: int) -> None:
            await turns.take(served_at, alike)
            served.append((served_at, alike))

        await asyncio.gather(turns.take(0.0), *(ask(*each) for each in asked))
        return served

    assert asyncio.run(order()) == sorted(asked)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 100)), max_size=40))
def test_responses_that_have_begun_come_before_requests_and_those_sent_furthest_first(
    asked: list[tuple[bool, int]],
) -> None:
    async def order() -> list[tuple[bool, int]]:
        turns, served = Turns(1), list[tuple[bool, int]]()

        async def ask(has_begun: bool, number: int) -> None:
            await (turns.go_on(number) if has_begun else turns.take(float(number)))
            served.append((has_begun, number))

        await asyncio.gather(turns.take(0.0), *(ask(*each) for each in asked))
        return served

    begun = sorted((each for each in asked if each[0]), reverse=True)
    assert asyncio.run(order()) == begun + sorted(each for each in asked if not each[0])


@given(st.lists(st.sampled_from(["begun", "new", "served"]), max_size=20), st.integers(1, 4))
def test_turns_are_crowded_while_as_many_new_or_begun_wait_as_have_one(asked: list[str], limit: int) -> None:
    async def crowded() -> tuple[bool, bool]:
        turns = Turns(limit)
        first = [asyncio.create_task(turns.take(0.0)) for _ in range(limit)]
        ask = {"begun": lambda: turns.go_on(8), "new": lambda: turns.take(0.0), "served": lambda: turns.take(1.0)}
        tasks = [asyncio.create_task(ask[each]()) for each in asked]
        await asyncio.sleep(0)  # all have asked
        was_crowded = turns.is_crowded
        await asyncio.gather(*first, *tasks)
        return was_crowded, turns.is_crowded

    assert asyncio.run(crowded()) == (sum(each != "served" for each in asked) >= limit, False)


@given(st.integers(0, 6), st.integers(0, 3))
def test_a_turn_that_is_given_up_at_any_time_goes_to_the_next(passes: int, which: int) -> None:
    async def all_served() -> bool:
        turns = Turns(1)
        tasks = [asyncio.create_task(turns.take(float(at))) for at in range(4)]
        for _ in range(passes):
            await asyncio.sleep(0)
        tasks[which].cancel()
        await asyncio.wait(tasks, timeout=10)
        await asyncio.wait_for(turns.take(4.0), 10)
        return all(task.done() for task in tasks)

    assert asyncio.run(all_served())
