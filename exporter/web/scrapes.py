"""Answers that take time, such as pages of metrics: made in a worker thread, once for all who ask for the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from time import perf_counter
from typing import NamedTuple

from exporter.web.responses import Answer, Settled, answered, short

ANSWERS_MAX = 32
REUSE_SECONDS_MAX = 1.0


class Reuse(NamedTuple):
    """How long an answer is given to others once it is there: a multiple of the time that it took, and a least time.

    So whoever asks without a pause takes no more than a share of the worker, whatever an answer costs.
    """

    ratio: float
    seconds_min: float = 0.0

    def seconds(self, took_seconds: float) -> float:
        """Return for how long an answer is good that took so long."""
        return min(max(self.seconds_min, self.ratio * took_seconds), REUSE_SECONDS_MAX)


class SharedAnswers:
    """Makes answers in one thread; everything here belongs to the thread of the event loop."""

    def __init__(self, name: str, reuse: Reuse) -> None:
        self._reuse = reuse
        self._worker = ThreadPoolExecutor(1, name)
        self._answers: dict[Hashable, asyncio.Task[Settled]] = {}
        # Of the answers of which there are many one at a time is made: others wait for one of them at most.
        self._turn = asyncio.Semaphore(1)

    async def get(
        self, path: str, key: Hashable, make: Callable[[], Answer], is_gzipped: bool, *, is_one_of_many: bool = False
    ) -> Settled:
        """Return the answer of this key that is being made or was made just now, or a new one.

        Of the answers that are one of many, for their keys come from clients, there are `ANSWERS_MAX` at a time.
        """
        making = self._answers.get((key, is_gzipped))
        if making is None:
            if is_one_of_many and len(self._answers) >= ANSWERS_MAX:
                return short("too many different selections at once", 503)
            turn = self._turn if is_one_of_many else nullcontext()
            making = asyncio.create_task(self._made(path, (key, is_gzipped), make, is_gzipped, turn))
            self._answers[key, is_gzipped] = making
        return await asyncio.shield(making)

    async def _made(
        self,
        path: str,
        key: Hashable,
        make: Callable[[], Answer],
        is_gzipped: bool,
        turn: asyncio.Semaphore | nullcontext[None],
    ) -> Settled:
        loop = asyncio.get_running_loop()
        try:
            async with turn:
                answer, seconds = await loop.run_in_executor(self._worker, _timed, path, make, is_gzipped)
        except BaseException:
            del self._answers[key]
            raise
        reuse_seconds = self._reuse.seconds(seconds) if answer.status == 200 else 0.0
        loop.call_later(reuse_seconds, self._answers.pop, key)
        return answer

    def close(self) -> None:
        """Begin nothing more; what is being made is made for nobody."""
        for making in self._answers.values():
            making.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)


def _timed(path: str, make: Callable[[], Answer], is_gzipped: bool) -> tuple[Settled, float]:
    begin = perf_counter()
    answer = answered(path, make, is_gzipped)
    return answer, perf_counter() - begin
