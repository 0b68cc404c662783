"""Ends a process that hangs: librdkafka has calls that may never return, and a supervisor can only restart what ended.

Whatever is not published by then is not committed either, so the next process does it.
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

STUCK = 70  # EX_SOFTWARE
LATE = 1
# Looks within a limit. A broker that did not answer during its last half is the reason, and no restart helps.
LOOKS = 20
# For the last lines, which nobody may be there to read.
SPEAK_SECONDS = 1.0


class Watchdog:
    """Looks from a daemon thread.

    `stuck_seconds` tells for how long the same call has been under way; `broker_answers` asks a broker and may block
    for some seconds. Both are called from the watchdog's thread.
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
        """Begin to look."""
        start("watchdog", self._watch)
        start("deadline", self._wait_for_stop)

    def end_within(self, seconds: float) -> None:
        """End the process when it still lives after so long; the first call decides. Needs no new thread."""
        if not self._stopping.is_set():
            self._stop_seconds = seconds
            self._stopping.set()

    def verdict(self, now: float) -> str:
        """Return why the process is to end, or nothing."""
        stuck = self._stuck_seconds()
        if stuck < self._limit / 2:
            return ""
        if not self._broker_answers():
            self._silent_at = now
        if stuck < self._limit or now - self._silent_at < self._limit / 2:
            return ""
        return f"a call has been under way for {stuck:.0f} s, and the broker answers"

    def _wait_for_stop(self) -> None:
        self._stopping.wait()
        time.sleep(self._stop_seconds - SPEAK_SECONDS)
        _end(LATE, f"the process did not stop within {self._stop_seconds:g} s")

    def _watch(self) -> None:
        while True:
            time.sleep(self._limit / LOOKS)
            if why := self.verdict(time.monotonic()):
                _end(STUCK, why)


def _end(code: int, why: str) -> None:
    """End the process, and say why if that is possible.

    Whatever hangs may hold a lock, and stderr may be full: the lines are written by a thread that nothing waits for.
    """
    try:
        said = threading.Event()
        _thread.start_new_thread(_speak, (why, said))
        said.wait(SPEAK_SECONDS)
    finally:
        os._exit(code)


def _speak(why: str, said: threading.Event) -> None:
    try:
        reason = logs.line(logging.CRITICAL, "exporter.watchdog", "the process ends itself", reason=why)
        data = "\n".join([reason, *_stacks()]).encode("utf-8", "backslashreplace") + b"\n"
        while data:
            data = data[os.write(logs.STDERR, data) :]
    finally:
        said.set()


def _stacks() -> Iterator[str]:
    # Not by `faulthandler`: that lets no other thread run until its lines are read.
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
