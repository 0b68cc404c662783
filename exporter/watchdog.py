"""Ends a process that hangs: librdkafka has calls that may never return, and a supervisor can only restart what ended.

Whatever is not published by then is not committed either, so the next process does it.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

log = logging.getLogger("exporter.watchdog")

STUCK = 70  # EX_SOFTWARE
LATE = 1
# Looks within a limit. A broker that did not answer during its last half is the reason, and no restart helps.
LOOKS = 20


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

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @staticmethod
    def end_within(seconds: float) -> None:
        """End the process when it still lives after so long."""
        timer = threading.Timer(seconds, _end, (LATE, f"the process did not stop within {seconds:g} s"))
        timer.daemon = True
        timer.start()

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

    def _watch(self) -> None:
        while True:
            time.sleep(self._limit / LOOKS)
            if why := self.verdict(time.monotonic()):
                _end(STUCK, why)


def _end(code: int, why: str) -> None:
    log.critical("the process ends itself", extra={"reason": why})
    faulthandler.dump_traceback(sys.stderr, all_threads=True)
    sys.stderr.flush()
    os._exit(code)
