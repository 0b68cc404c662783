"""Turns are limited, and the connection whose last response is longest ago has the next one."""

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
