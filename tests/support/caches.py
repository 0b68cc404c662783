"""A cache as a test uses it: the same calls through its methods for threads and through those for tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from exporter.performance import CacheManager


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ThreadCalls:
    """The methods without `async`."""

    def __init__(self, cache: CacheManager) -> None:
        self.cache = cache

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method by the name that it has for threads."""
        return getattr(self.cache, method)(*args, **kwargs)

    def close(self) -> None:
        """Close the cache."""
        self.cache.close()


class TaskCalls:
    """The methods with `async`, in one event loop that runs during calls only."""

    def __init__(self, cache: CacheManager) -> None:
        self.cache = cache
        self._runner = asyncio.Runner()

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method by the name that it has for threads."""
        return self.run(self._all_of_it, getattr(self.cache, f"a{method}"), *args, **kwargs)

    def run(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
        """Run a coroutine function to its end."""
        return self._runner.run(function(*args, **kwargs))

    def close(self) -> None:
        """Close the cache and the event loop."""
        self.run(self.cache.aclose)
        self._runner.close()

    async def _all_of_it(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Await a call, and what it has left to the background."""
        try:
            return await method(*args, **kwargs)
        finally:
            if tasks := [*self.cache._core.tasks]:
                await asyncio.wait(tasks)


Calls = ThreadCalls | TaskCalls
KINDS = (ThreadCalls, TaskCalls)
