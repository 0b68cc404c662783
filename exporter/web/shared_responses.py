"""Responses that take time, such as metrics pages: computed in a worker thread, and shared by equal requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from time import perf_counter
from typing import NamedTuple

from exporter.web.responses import CompleteResponse, Response, response_or_error, text_response

RESPONSES_MAX = 32
REUSE_SECONDS_MAX = 1.0


class Reuse(NamedTuple):
    """How long a response is reused: `ratio` times the time of its computation, and at least `seconds_min`.

    A client that sends requests without a pause then takes no more than a share of the worker's time.
    """

    ratio: float
    seconds_min: float = 0.0

    def seconds(self, took_seconds: float) -> float:
        """Return for how many seconds a response is reused that took `took_seconds`."""
        return min(max(self.seconds_min, self.ratio * took_seconds), REUSE_SECONDS_MAX)


class SharedResponses:
    """Computes responses in one worker thread; all methods belong to the thread of the event loop."""

    def __init__(self, name: str, reuse: Reuse) -> None:
        self._reuse = reuse
        self._worker = ThreadPoolExecutor(1, name)
        self._responses: dict[Hashable, asyncio.Task[CompleteResponse]] = {}
        # Responses that are one of many are computed one at a time, so that others wait for one of them at most.
        self._turn = asyncio.Semaphore(1)

    async def get(
        self, path: str, key: Hashable, make: Callable[[], Response], is_gzipped: bool, *, is_one_of_many: bool = False
    ) -> CompleteResponse:
        """Return the response of this key that is being computed or still reused, or a new one.

        If keys come from clients (`is_one_of_many`), there are at most `RESPONSES_MAX` responses at a time.
        """
        pending = self._responses.get((key, is_gzipped))
        if pending is None:
            if is_one_of_many and len(self._responses) >= RESPONSES_MAX:
                return text_response("too many different requests in progress, retry later", 503)
            turn = self._turn if is_one_of_many else nullcontext()
            pending = asyncio.create_task(self._compute(path, (key, is_gzipped), make, is_gzipped, turn))
            self._responses[key, is_gzipped] = pending
        return await asyncio.shield(pending)

    async def _compute(
        self,
        path: str,
        key: Hashable,
        make: Callable[[], Response],
        is_gzipped: bool,
        turn: asyncio.Semaphore | nullcontext[None],
    ) -> CompleteResponse:
        loop = asyncio.get_running_loop()
        try:
            async with turn:
                response, seconds = await loop.run_in_executor(self._worker, _timed, path, make, is_gzipped)
        except BaseException:
            del self._responses[key]
            raise
        reuse_seconds = self._reuse.seconds(seconds) if response.status == 200 else 0.0
        loop.call_later(reuse_seconds, self._responses.pop, key)
        return response

    def close(self) -> None:
        """Cancel what is being computed, and start nothing more."""
        for pending in self._responses.values():
            pending.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)


def _timed(path: str, make: Callable[[], Response], is_gzipped: bool) -> tuple[CompleteResponse, float]:
    begin = perf_counter()
    response = response_or_error(path, make, is_gzipped)
    return response, perf_counter() - begin
