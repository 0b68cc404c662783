"""Signals of a process that belongs to one command, taken by a thread: the main one may wait for a call for long."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
# They would end the process at once, by default, and nothing that waits would be published.
WITHOUT_EFFECT = frozenset({signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})


class Signals:
    """Takes signals from the moment it is made, which only the main thread may do, before there are others.

    Until `stop_by`, a signal to stop ends the process at once, with 0: nothing has begun.
    """

    _stopping = STOPPING
    _without_effect = WITHOUT_EFFECT

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._deciding = threading.Lock()
        # Inherited by every thread, so that the one below gets them all. To a process with the id 1 the kernel delivers
        # no signal that it neither handles nor blocks.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._stopping | self._without_effect)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    def stop_by(self, stop: Callable[[], None]) -> None:
        """Let signals to stop call that, from a thread of their own; it may be called more than once."""
        with self._deciding:
            self._stop = stop

    def _listen(self) -> None:
        while True:
            number = signal.sigwait(self._stopping | self._without_effect)
            if number in self._stopping:
                self._end(number)
            else:
                name = signal.Signals(number).name
                _log().warning("a signal has no effect, there is no reloading", extra={"signal": name})

    def _end(self, _number: int) -> None:
        with self._deciding:
            if self._stop is None:
                os._exit(0)
        self._stop()


class Interruptions(Signals):
    """Takes those of a command that is not `run`: one ends it at once, with the code that shells expect.

    After `stop_by` the second one does, whatever the first has begun.
    """

    _stopping = frozenset({signal.SIGTERM, signal.SIGINT})
    _without_effect = frozenset()

    def _end(self, number: int) -> None:
        with self._deciding:
            stop, self._stop = self._stop, None
            if stop is None:
                os._exit(128 + number)
        stop()


_taken: list[Signals] = []


def take(kind: type[Signals] = Signals) -> Signals:
    """Return what takes the signals of this process, from the first call on, which decides on its kind."""
    if not _taken:
        _taken.append(kind())
    return _taken[0]


def _log() -> logging.Logger:
    from exporter.runtime import logs

    return logs.logger("signals")
