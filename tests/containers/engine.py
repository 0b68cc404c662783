"""A container engine in a folder and in namespaces of its own: nothing of it touches this machine, or stays on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.missing import missing, program
from tests.support.process import Part

CACHE = Path(__file__).parents[2] / ".cache" / "containers"
ENTER = Path(__file__).with_name("enter.sh")
CGROUPS = Path("/sys/fs/cgroup")
CALL_SECONDS = 120.0
GET = "import sys, urllib.request as http; print(http.urlopen(sys.argv[1], timeout=20).read().decode())"


class Engine(Part):
    """A Docker daemon; the `directory` is /place in it, and holds all that it writes."""

    start_seconds = 60.0
    stop_seconds = 60.0

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        if os.geteuid() != 0 or not (CACHE / "kafka").is_dir():
            missing("a container engine", "`tests/parts/containers.sh` brings it, and it wants root")
        self._cgroup = f"marketdata-{os.getpid()}"
        self._network: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """See Part."""
        namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child"]
        return ["unshare", *namespaces, str(ENTER), str(CACHE / "engine"), str(self.directory), self._cgroup]

    def ready(self) -> bool:
        """See Part; the daemon answers."""
        return bool(self._inner()) and not self._run("docker", "info", timeout=CALL_SECONDS).returncode

    def start(self) -> Self:
        """See Part; containers reach what this machine reaches, but not the machine."""
        super().start()
        command = [program("slirp4netns", "slirp4netns"), "--configure", "--mtu=65520", "--disable-host-loopback"]
        with (self.directory / "network.log").open("wb") as log:
            self._network = subprocess.Popen([*command, str(self._inner()), "tap0"], stdout=log, stderr=log)
        return self

    def stop(self) -> None:
        """End the daemon, and with it all that it started; delete all that it wrote."""
        if self._network:
            self._network.terminate()
            self._network.wait()
        if self.is_running and (inner := self._inner()):
            os.kill(inner, signal.SIGTERM)  # unshare itself does not listen, but ends with it
            with suppress(subprocess.TimeoutExpired):
                assert self._process
                self._process.wait(self.stop_seconds)
        self.kill()
        self._remove_cgroups()
        shutil.rmtree(self.directory)

    def docker(self, *arguments: str | Path, input: Path | None = None, timeout: float = CALL_SECONDS) -> str:
        """What a command prints, run in /place with `input` on stdin; AssertionError with all of it when it fails."""
        done = self._run("env", "-C", "/place", "docker", *map(str, arguments), input=input, timeout=timeout)
        assert not done.returncode, f"docker {arguments}: {done.returncode}\n{done.stdout[-6000:]}"
        return done.stdout

    def get(self, url: str) -> str:
        """What a published port answers."""
        inside = ["nsenter", "--target", str(self._inner()), "--net", "--", sys.executable, "-c", GET, url]
        return subprocess.run(inside, check=True, capture_output=True, text=True, timeout=CALL_SECONDS).stdout

    def _run(self, *command: str, timeout: float, input: Path | None = None) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", "--target", str(self._inner()), "--mount", "--net", "--pid", "--", *command]
        with (input or Path(os.devnull)).open("rb") as stdin:
            return subprocess.run(
                inside,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout,
                check=False,
            )

    def _inner(self) -> int:
        """The first process in the namespaces, which becomes the daemon; 0 when there is none yet."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def _remove_cgroups(self) -> None:
        for top in CGROUPS.glob(f"*/{self._cgroup}"):
            for group, _, _ in os.walk(top, topdown=False):
                with suppress(OSError):  # a process that is ending is still in it
                    Path(group).rmdir()
