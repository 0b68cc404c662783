"""A program that a test starts, kills and starts again."""

import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from tests.support.waiting import eventually

# Below the range from which the kernel takes the ports of outgoing connections: there a client that tries to reconnect
# to a part that is down could be given the part's own port, and keep it. Each process of a parallel run has ports of
# its own: a port is free until its part listens, which takes a broker seconds.
PROCESSES = 8
PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = range(15_000 + PROCESS, 32_000, PROCESSES)
_given: set[int] = set()  # a part asks for several before it listens on any


def free_port() -> int:
    """A loopback port that nobody listens on, and that was not given before."""
    while True:
        port = random.choice(PORTS)
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port


class Part:
    """A program with a data folder and ports of its own, which it keeps when it is started again.

    A subclass says what to run (`command`) and when it answers (`ready`).
    """

    start_seconds = 30.0
    stop_seconds = 15.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    @property
    def log(self) -> str:
        """All that it has printed."""
        return self._log_file.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The process id, for signals."""
        assert self._process, f"{self._name} does not run"
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send it a signal, such as SIGHUP."""
        assert self._process, f"{self._name} does not run"
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop it until `resume`; no thread of it runs any more when this returns."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on after `freeze`."""
        self.signal(signal.SIGCONT)

    def exit_code(self) -> int | None:
        """How it has ended by itself; None while it runs."""
        assert self._process, f"{self._name} was not started"
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended, by itself or otherwise; from any thread."""
        process = self._process
        return process is not None and process.poll() is None

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self.launch()
        try:
            eventually(self._answers, self.start_seconds, f"{self._name} did not answer")
        except BaseException:
            self.kill()
            raise
        return self

    def launch(self) -> None:
        """Start it without waiting for an answer."""
        assert self._process is None, f"{self._name} runs already"
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(subprocess.Popen.kill)

    def restart(self) -> None:
        """End it as `stop` does, if it runs, and start it with the same ports and data."""
        self.stop()
        self.start()

    def _answers(self) -> bool:
        if self._process and self._process.poll() is not None:
            raise RuntimeError(f"{self._name} ended with {self._process.returncode}:\n{self.log[-3000:]}")
        return self.ready()

    def _end(self, ask: Callable[[subprocess.Popen[bytes]], None]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        ask(process)
        try:
            process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def _log_file(self) -> Path:
        return self.directory / "output.log"

    @property
    def _name(self) -> str:
        return type(self).__name__


def accepts_connections(port: int) -> bool:
    """Whether something listens on the loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
