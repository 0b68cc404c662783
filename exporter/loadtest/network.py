"""How long TCP connections to a broker take: one round trip of the network, in which no program has a part."""

from __future__ import annotations

import socket
import threading
from collections import deque
from typing import NamedTuple

from exporter.loadtest.run_clock import RunClock
from exporter.runtime.threads import start

_PAUSE_SECONDS = 1.0
_TIMEOUT_SECONDS = 2.0
# An hour.
CONNECTS_MAX = 3600


class Connect(NamedTuple):
    """A connection: when it was begun, in seconds of the run, and how long it took."""

    at: float
    ms: float


class NetworkProbe:
    """A thread that connects to an address once a second, and closes the connection."""

    def __init__(self, host: str, port: int, clock: RunClock) -> None:
        self.connects: deque[Connect] = deque(maxlen=CONNECTS_MAX)
        self._clock = clock
        self._address = host, port
        self._stopping = threading.Event()
        self._thread = start("loadtest-network", self._run)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS):
            began = self._clock.now()
            try:
                socket.create_connection(self._address, _TIMEOUT_SECONDS).close()
            except ConnectionError:  # an answer, but of a program that has ended
                continue
            except OSError:  # no answer
                self.connects.append(Connect(began, _TIMEOUT_SECONDS * 1000))
                continue
            self.connects.append(Connect(began, (self._clock.now() - began) * 1000))
