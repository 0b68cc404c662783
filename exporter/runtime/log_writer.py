"""Lines on their way to a descriptor: whoever logs never waits, however slowly the other side reads, or if at all."""

from __future__ import annotations

import os
import queue
import select
import threading
from collections.abc import Callable
from contextlib import suppress

# What may wait: some thousand lines, minutes of a usual log.
WAITING_BYTES = 1_048_576


class LogWriter:
    """Writes lines in a thread of its own, in their order; what exceeds `WAITING_BYTES` is dropped and counted.

    `notice` makes the line that says how many were dropped, which is written once lines get through again.
    """

    def __init__(self, descriptor: int, notice: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._notice = notice
        self._lines: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        # Each number has one thread that changes it: the first two those that log, one at a time, the rest the writer.
        self._accepted_bytes = 0
        self._refused = 0
        self._finished_bytes = 0
        self._failed = 0
        self._reported = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    @property
    def dropped(self) -> int:
        """How many lines were not written: too many waited, or the descriptor takes none."""
        return self._refused + self._failed

    def write(self, line: str) -> None:
        """Queue a line, or drop it. From any thread, but one at a time, as `logging.Handler` does it."""
        data = _encoded(line)
        if self._accepted_bytes - self._finished_bytes + len(data) > WAITING_BYTES:
            self._refused += 1
            return
        self._accepted_bytes += len(data)
        self._lines.put(data)

    def flush(self, seconds: float) -> bool:
        """Wait at most so long until everything queued is written or dropped; return whether it is."""
        reached = threading.Event()
        self._lines.put(reached)
        return reached.wait(seconds)

    def _run(self) -> None:
        while True:
            # A thread that ended here could not report it.
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
        """Say how many lines were dropped; where that cannot be written either, it is said later."""
        dropped = self.dropped
        if dropped > self._reported and self._put(_encoded(self._notice(dropped - self._reported))):
            self._reported = dropped

    def _put(self, data: bytes) -> bool:
        """Write everything, however long it takes; return whether the descriptor took it."""
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
