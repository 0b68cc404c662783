"""A writer of log lines that never blocks its callers, even when the other end of the descriptor does not read."""

from __future__ import annotations

import os
import queue
import select
import threading
from collections.abc import Callable
from contextlib import suppress

# The size of the queue: some thousand lines, minutes of a usual log.
WAITING_BYTES = 1_048_576


class LogWriter:
    """Writer of lines in a background thread, in order; lines beyond `WAITING_BYTES` are dropped and counted.

    `notice` makes the line with the number of dropped lines, which is written once the descriptor takes lines again.
    """

    def __init__(self, descriptor: int, notice: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._notice = notice
        self._lines: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        # Each number is changed by one thread: the first two by the logging thread (one at a time), the rest by the
        # writer.
        self._accepted_bytes = 0
        self._refused = 0
        self._finished_bytes = 0
        self._failed = 0
        self._reported = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    @property
    def dropped(self) -> int:
        """The number of lines that were not written: the queue was full, or the descriptor failed."""
        return self._refused + self._failed

    def write(self, line: str) -> None:
        """Queue a line, or drop it. Call from one thread at a time, as `logging.Handler` does."""
        data = _encoded(line)
        if self._accepted_bytes - self._finished_bytes + len(data) > WAITING_BYTES:
            self._refused += 1
            return
        self._accepted_bytes += len(data)
        self._lines.put(data)

    def flush(self, seconds: float) -> bool:
        """Wait up to `seconds` until all queued lines are written or dropped; return whether they are."""
        reached = threading.Event()
        self._lines.put(reached)
        return reached.wait(seconds)

    def _run(self) -> None:
        while True:
            # An error that ended this thread could not be logged.
            with suppress(Exception):
                self._step(self._lines.get())

    def _step(self, item: bytes | threading.Event) -> None:
        if isinstance(item, threading.Event):
            self._report()
            item.set()
            return
        self._failed += not self._put(item)
        self._finished_bytes += len(item)
        if self._lines.empty():
            self._report()

    def _report(self) -> None:
        """Write how many lines were dropped since the last report; retried later when that cannot be written either."""
        dropped = self.dropped
        if dropped > self._reported and self._put(_encoded(self._notice(dropped - self._reported))):
            self._reported = dropped

    def _put(self, data: bytes) -> bool:
        """Write all the data, however long it takes; return whether the descriptor accepted it."""
        try:
            while data:
                data = data[self._put_some(data) :]
        except OSError:
            return False
        return True

    def _put_some(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # another process has made it non-blocking
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            return 0


def _encoded(line: str) -> bytes:
    return (line + "\n").encode("utf-8", "backslashreplace")
