"""Locust as a child process, which ends with this one."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from exporter.loadtest.http.plan import CHANNEL, MESSAGE_BYTES, Done, Plan, Ready, Report, Start, Step, decode
from exporter.loadtest.target import TargetError

# Loading Locust and starting its workers take 2 s; on a busy machine more.
READY_SECONDS = 60.0
_EXIT_SECONDS, _POLL_SECONDS = 10.0, 0.1
_USERS = Path(__file__).with_name("users.py")


class LocustProcess:
    """A group of processes: the one that was started, and its workers. `options` are those of Locust's command."""

    def __init__(self, plan: Plan, options: Sequence[str]) -> None:
        self._messages, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "locust", "-f", str(_USERS), *options],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env={**os.environ, CHANNEL: str(theirs.fileno())},
                pass_fds=[theirs.fileno()],
                # Ctrl-C in a terminal reaches all processes of a group: this one decides when Locust ends.
                start_new_session=True,
            )
        self._messages.sendall(msgspec.json.encode(plan))

    @property
    def pid(self) -> int:
        """The number of the process that was started."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def last_line(self) -> str:
        """The last line that it has written, if any."""
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"exit code {self._process.poll()}"

    def wait_until_ready(self, stopping: threading.Event) -> None:
        """Wait for it and its workers, or for `stopping`; raise `TargetError` if they do not become ready."""
        deadline = time.monotonic() + READY_SECONDS
        while not stopping.is_set():
            if select.select([self._messages], [], [], _POLL_SECONDS)[0] and self._is_ready():
                return
            if not self.is_running:  # its workers, which have the socket as well, may not have noticed yet
                raise TargetError(f"Locust does not start: {self.last_line}")
            if time.monotonic() > deadline:
                raise TargetError(f"Locust does not become ready in {READY_SECONDS:.0f} s: {self.last_line}")

    def _is_ready(self) -> bool:
        if message := self._messages.recv(MESSAGE_BYTES):
            return isinstance(decode(message), Ready)
        self._process.wait(_EXIT_SECONDS)
        raise TargetError(f"Locust does not start: {self.last_line}")

    def begin(self, until: float) -> None:
        """Let users send what is due before a time of `time.monotonic`; a process that has ended is found otherwise."""
        with suppress(OSError):
            self._messages.sendall(msgspec.json.encode(Start(until=until)))

    def step(self, step: Step) -> None:
        """Let users send requests of a step; a process that has ended is found otherwise."""
        with suppress(OSError):
            self._messages.sendall(msgspec.json.encode(step))

    def reports(self) -> Iterator[Report | Done]:
        """Yield what the processes report, until the last of them has ended."""
        with suppress(OSError):
            while message := self._messages.recv(MESSAGE_BYTES):
                if not isinstance(report := decode(message), Ready):
                    yield report

    def end(self) -> None:
        """Ask it to end, once requests in progress are answered or some seconds have passed."""
        if self.is_running:
            self._process.terminate()

    def kill(self) -> None:
        """End it and its workers at once; the caller knows that one of them is running."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Wait for the process, which was ended, and release the files."""
        self._process.wait()
        self._messages.close()
        self._log.close()
