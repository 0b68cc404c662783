"""Ends a process that hangs: some calls of librdkafka may never return, and a supervisor restarts only ended processes.

Events that are not published by then are not committed either, so the next process publishes them.
"""

from __future__ import annotations

import _thread
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from exporter.runtime import logs
from exporter.runtime.threads import Start
from exporter.runtime.threads import start as start_thread

log = logs.logger("watchdog")

EXIT_STUCK = 70  # EX_SOFTWARE
EXIT_LATE = 1
# Checks within the time limit. If the broker did not answer in the last half of it, a restart would not help.
CHECKS = 20
# Time to write the last lines: stderr may not be read.
REPORT_SECONDS = 1.0


class Watchdog:
    """Supervisor of the loop, in a daemon thread.

    `stuck_seconds` returns the duration of the current call; `broker_answers` asks a broker and may block for some
    seconds. Both are called from the watchdog's thread. `limit_seconds` is the longest allowed call.
    """

    def __init__(
        self, stuck_seconds: Callable[[], float], broker_answers: Callable[[], bool], limit_seconds: float
    ) -> None:
        self._stuck_seconds = stuck_seconds
        self._broker_answers = broker_answers
        self._limit = limit_seconds
        self._silent_at = float("-inf")  # when the broker last did not answer
        self._stopping = threading.Event()
        self._stop_seconds = 0.0

    def start(self, start: Start = start_thread) -> None:
        """Start the threads."""
        start("watchdog", self._watch)
        start("deadline", self._wait_for_stop)

    def end_within(self, seconds: float) -> None:
        """End the process if it still runs after `seconds`; only the first call counts. Starts no thread."""
        if not self._stopping.is_set():
            self._stop_seconds = seconds
            self._stopping.set()

    def reason_to_end(self, now: float) -> str:
        """Return why the process must end, empty while it need not."""
        stuck = self._stuck_seconds()
        if stuck < self._limit / 2:
            return ""
        if not self._broker_answers():
            self._silent_at = now
        if stuck < self._limit or now - self._silent_at < self._limit / 2:
            return ""
        return f"a call has not returned for {stuck:.0f} s although the broker answers"

    def _wait_for_stop(self) -> None:
        self._stopping.wait()
        time.sleep(self._stop_seconds - REPORT_SECONDS)
        _end(EXIT_LATE, f"the process did not stop within {self._stop_seconds:g} s")

    def _watch(self) -> None:
        while True:
            time.sleep(self._limit / CHECKS)
            if why := self.reason_to_end(time.monotonic()):
                _end(EXIT_STUCK, why)


def _end(code: int, why: str) -> None:
    """End the process, after writing the reason if possible.

    A hanging thread may hold a lock, and stderr may be full, so the lines are written by a thread that may hang, too.
    """
    try:
        written = threading.Event()
        _thread.start_new_thread(_report, (why, written))
        written.wait(REPORT_SECONDS)
    finally:
        os._exit(code)


def _report(why: str, written: threading.Event) -> None:
    try:
        reason = logs.line(logging.CRITICAL, "exporter.watchdog", "watchdog ends the process", reason=why)
        data = "\n".join([reason, *_stacks()]).encode("utf-8", "backslashreplace") + b"\n"
        while data:
            data = data[os.write(logs.STDERR, data) :]
    finally:
        written.set()


def _stacks() -> Iterator[str]:
    # Not by `faulthandler`: it blocks all threads until its lines are read.
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for number, top in sys._current_frames().items():
        yield f"Thread {names.get(number, number)}, the innermost call first:"
        yield from map(_place, _outwards(top))


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(frame: FrameType) -> str:
    return f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}'
