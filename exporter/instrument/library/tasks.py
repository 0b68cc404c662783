"""Tasks of event loops that may have ended, or run in another thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


def started_task(run: Callable[[], Coroutine[Any, Any, None]], name: str) -> asyncio.Task[None] | None:
    """Return a task of the running event loop; None where there is none."""
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return loop.create_task(run(), name=name)


def is_lost(task: asyncio.Task[None]) -> bool:
    """Return whether a task can never end: its event loop was closed before it did."""
    return not task.done() and task.get_loop().is_closed()


def cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task, from any thread; it ends when its event loop runs again."""
    with suppress(RuntimeError):  # the event loop is closed
        task.get_loop().call_soon_threadsafe(task.cancel)


async def wait_for(task: asyncio.Task[None]) -> None:
    """Wait for the end of a task, which may be of an event loop in another thread; nothing for one that cannot end."""
    import asyncio

    loop = task.get_loop()
    if loop is asyncio.get_running_loop():
        await asyncio.wait([task])
    elif loop.is_running():
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_wait_for_own(task), loop))


async def _wait_for_own(task: asyncio.Task[None]) -> None:
    import asyncio

    await asyncio.wait([task])
