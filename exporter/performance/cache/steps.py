"""One way through the tiers for threads and tasks: a generator yields what is to be done, a driver does it. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")


class Ask(NamedTuple):
    """A command for Redis: `call` takes a client, and returns the answer or an awaitable of it."""

    call: Callable[[Any], Any]
    is_write: bool


class Load(NamedTuple):
    """A call of the loader with a key."""

    loader: Callable[[str], Any]
    key: str


Steps: TypeAlias = Generator[Ask | Load, Any, T]


def drive(steps: Steps[T], do: Callable[[Ask | Load], Any]) -> T:
    """Do the steps, one after another; return what the generator returns."""
    try:
        step = next(steps)
        while True:
            try:
                answer = do(step)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        value: T = end.value
        return value


async def adrive(steps: Steps[T], do: Callable[[Ask | Load], Awaitable[Any]]) -> T:
    """Do the steps, one after another; return what the generator returns."""
    try:
        step = next(steps)
        while True:
            try:
                answer = await do(step)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        value: T = end.value
        return value
