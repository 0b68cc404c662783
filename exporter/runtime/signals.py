"""Signal handling of a command in a thread: the main thread may be blocked in a call for long."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
# By default they end the process at once, with pending events unpublished.
RELOADING = frozenset({signal.SIGHUP})
WITHOUT_EFFECT = frozenset({signal.SIGUSR1, signal.SIGUSR2})


class Signals:
    """Receiver of signals. Make it in the main thread, before other threads exist.

    Until `stop_by` is called, a stop signal ends the process at once with exit code 0: nothing has begun. A signal to
    reload waits for `reload_by`: the configuration may have been read before it.
    """

    _stopping = STOPPING
    _others = RELOADING | WITHOUT_EFFECT

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._reload: Callable[[], object] | None = None
        self._is_reload_due = False
        self._deciding = threading.Lock()
        # Every thread inherits the mask, so the thread below receives all signals. To process 1 of a container the
        # kernel delivers only signals that are handled or blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._stopping | self._others)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    def stop_by(self, stop: Callable[[], None]) -> None:
        """Call `stop` at each stop signal, from the thread of the signals."""
        with self._deciding:
            self._stop = stop

    def reload_by(self, reload: Callable[[], object]) -> None:
        """Call `reload`, which returns at once, at each signal to reload; now if there was one before."""
        with self._deciding:
            self._reload = reload
        if self._is_reload_due:
            reload()

    def _listen(self) -> None:
        while True:
            number = signal.sigwait(self._stopping | self._others)
            if number in self._stopping:
                self._end(number)
            elif number in RELOADING:
                self._request_reload()
            else:
                _log().warning("signal ignored", extra={"signal": signal.Signals(number).name})

    def _request_reload(self) -> None:
        with self._deciding:
            self._is_reload_due = self._reload is None
        if self._reload is not None:
            self._reload()

    def _end(self, _number: int) -> None:
        with self._deciding:
            if self._stop is None:
                os._exit(0)
        self._stop()


class Interruptions(Signals):
    """Receiver of the signals of other commands: the first ends the process at once, with the code of shells.

    After `stop_by` the first calls `stop`, and the second ends the process.
    """

    _stopping = frozenset({signal.SIGTERM, signal.SIGINT})
    _others = frozenset()

    def _end(self, number: int) -> None:
        with self._deciding:
            stop, self._stop = self._stop, None
            if stop is None:
                os._exit(128 + number)
        stop()


_taken: list[Signals] = []


def take(kind: type[Signals] = Signals) -> Signals:
    """Return the receiver of the signals of this process; the first call makes it, of that kind."""
    if not _taken:
        _taken.append(kind())
    return _taken[0]


def _log() -> logging.Logger:
    from exporter.runtime import logs

    return logs.logger("signals")
