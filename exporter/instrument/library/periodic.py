"""Periodic storing of metrics, by a task or by a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Self

from exporter.instrument.library import notices
from exporter.instrument.library.tasks import cancel, is_lost, started_task, wait_for
from exporter.instrument.results import Result
from exporter.instrument.storages.storage import StorageError

if TYPE_CHECKING:
    pass

THREAD = "instrument-push"


class PeriodicPush:
    """A task or thread that stores metrics every so many seconds, and once more at its end.

    A failure is logged once, and so is its end. `last` is the result of the last push, None before the first.
    """

    def __init__(self, store: Callable[[], Result[int, StorageError]], seconds: float) -> None:
        if not 0 < seconds < threading.TIMEOUT_MAX:
            raise ValueError(f"seconds is a number above 0, not {seconds!r}")
        self.last: Result[int, StorageError] | None = None
        self._store = store
        self._seconds = seconds
        self._due = monotonic() + seconds
        self._stopped = threading.Event()
        # A task that ends leaves a push behind that has begun; the last one, which has more, must come after it.
        self._pushing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._task = started_task(self._run_as_task, THREAD)
        if self._task is None:
            self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End with a last push: a thread before this returns, a task when its event loop runs again."""
        was_stopped = self._stopped.is_set()
        self._stopped.set()
        if self._task is not None:
            cancel(self._task)
            if is_lost(self._task) and not was_stopped:
                self._push()
        elif self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    async def aclose(self) -> None:
        """End with a last push, before this returns."""
        import asyncio

        await asyncio.to_thread(self.stop)
        if self._task is not None:
            await wait_for(self._task)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def _run(self) -> None:
        while not self._stopped.wait(self._pause()):
            self._push()
        self._push()

    async def _run_as_task(self) -> None:
        import asyncio

        try:
            while not self._stopped.is_set():
                await asyncio.sleep(self._pause())
                await asyncio.to_thread(self._push)
        except asyncio.CancelledError:
            await asyncio.to_thread(self._push)
            raise
        await asyncio.to_thread(self._push)

    def _pause(self) -> float:
        """Return the seconds to the next push; those that were missed are left out."""
        now = monotonic()
        pause = max(0.0, self._due - now)
        self._due = max(self._due, now) + self._seconds
        return pause

    def _push(self) -> None:
        with self._pushing:
            before, self.last = self.last, self._store()
            was_failing = before is not None and before.is_failure()
            if self.last.is_failure() and not was_failing:
                notices.not_stored(self.last.unwrap_err())
            elif self.last.is_success() and was_failing:
                notices.stored_again()
