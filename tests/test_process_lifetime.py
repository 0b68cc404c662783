"""The process lives and ends as it should, whatever its stderr, its signals and its threads do."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NoReturn

import pytest
import requests
from prometheus_client import CollectorRegistry

from exporter.config.schema import RedisConfig
from exporter.model import Status
from exporter.performance.circuit import Circuit
from exporter.runtime.threads import Guard
from exporter.runtime.watchdog import EXIT_LATE, EXIT_STUCK, Watchdog
from exporter.store.client import StoreMetrics
from exporter.store.redis_store import RedisStore
from exporter.web.server import WebServer
from tests.support.kafka import Broker
from tests.support.process import free_port
from tests.support.queries import Shown
from tests.support.sidecar import PROGRAM, Deployment, Scrape, Sidecar
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[1]
PIPE_BYTES = 65_536
NO_BROKER = {"MARKETDATA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "MARKETDATA_INPUT__GROUP": "group"}
LOUD = {
    "MARKETDATA_LOG__LEVEL": "debug",
    "MARKETDATA_KAFKA__PROPERTIES__DEBUG": "all",
    # Who tries again at once has much to log.
    "MARKETDATA_KAFKA__PROPERTIES__RECONNECT_BACKOFF_MS": "10",
    "MARKETDATA_KAFKA__PROPERTIES__RECONNECT_BACKOFF_MAX_MS": "10",
}


class Run:
    """`marketdata-exporter run` without a broker; `stderr` is for `Popen`."""

    def __init__(self, stderr: int | IO[bytes], *prefix: str, **more: str) -> None:
        self.port = free_port()
        command = [*prefix, str(PROGRAM), "run", f"--web.listen-address=127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stderr=stderr, env={**os.environ, **NO_BROKER, **more})

    def get(self, path: str) -> str:
        """The text of a good answer."""
        assert self.process.poll() is None, f"it ended with {self.process.returncode}"
        try:
            answer = requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=5)
        except requests.ConnectionError as error:
            raise AssertionError("nobody listens") from error
        assert answer.ok
        return answer.text

    def total(self, name: str, **labels: str) -> float:
        """The sum of series on the page of metrics."""
        return Scrape(self.get("/metrics")).total(name, **labels)

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        self.process.terminate()
        return self.process.wait(20)


@pytest.fixture
def unread() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    output, descriptor = os.pipe()
    yield descriptor
    os.close(output)
    os.close(descriptor)


def loud(stderr: int | IO[bytes], *prefix: str) -> Run:
    """A process that has logged more than fits in a pipe, and still serves."""
    run = Run(stderr, *prefix, **LOUD)
    lines = PIPE_BYTES / 64
    eventually(lambda: run.total("marketdata_exporter_log_messages_total") > lines, 30, "the log does not go on")
    assert run.get("/-/healthy") == "ok\n"
    return run


def test_nobody_reads_the_log_and_the_process_serves_and_stops(unread: int) -> None:
    assert loud(unread).stop() == 0


def test_what_a_full_disk_does_not_take_is_counted() -> None:
    with Path("/dev/full").open("wb") as full:
        run = loud(full)
        assert eventually(lambda: run.total("marketdata_exporter_log_lines_dropped_total"))
        assert run.stop() == 0


def test_with_stderr_closed_no_other_file_gets_the_log() -> None:
    """Neither the listener nor a connection has its number."""
    run = loud(subprocess.DEVNULL, "sh", "-c", 'exec "$@" 2>&-', "sh")
    assert Path(f"/proc/{run.process.pid}/fd/2").readlink() == Path(os.devnull)
    assert run.stop() == 0


def test_all_that_was_logged_is_written_at_the_end(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        run = loud(log)
        assert run.stop() == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) > PIPE_BYTES / 64
    assert not any("dropped" in line for line in lines)


ODD_LINES = """
import asyncio, gc, threading, warnings
from exporter.runtime import logs
logs.configure("info", "logfmt")
class Bad:
    def __del__(self): raise ZeroDivisionError("secret")
Bad()
gc.collect()
warnings.warn("one\\ntwo")
thread = threading.Thread(target=lambda: 1 / 0, name="odd")
thread.start()
thread.join()
import logging
logging.getLogger("others").warning("%d %d", "x")
logs.write_text("in its turn")
assert logs.flush(10)
"""


def test_what_python_says_by_itself_is_a_line_of_the_log_too() -> None:
    done = subprocess.run([sys.executable, "-c", ODD_LINES], capture_output=True, text=True, timeout=30, check=True)
    unraisable, warning, death, malformed, last = done.stderr.splitlines()
    assert "ZeroDivisionError" in unraisable
    assert "secret" not in unraisable
    assert "logger=py.warnings" in warning
    assert r"one\ntwo" in warning
    assert "thread_name=odd" in death
    assert 'logger=others msg="cannot format a log record" error=TypeError' in malformed
    assert last == "in its turn"


# Ends that do not need anybody's help.

HANGING = """
import logging, sys, threading
from exporter.runtime import logs
from exporter.runtime.watchdog import Watchdog
logs.configure("debug", "logfmt")
hangs = threading.Event()
{begin}
for handler in logging.getLogger().handlers:
    handler.acquire()
logging._acquireLock() if hasattr(logging, "_acquireLock") else logging._lock.acquire()
def hang():
    hangs.set()
    threading.Event().wait()
hang()
"""
STUCK_PROCESS = HANGING.format(begin="Watchdog(lambda: 1e9 if hangs.is_set() else 0.0, lambda: True, 0.2).start()")
LATE_PROCESS = HANGING.format(begin="dog = Watchdog(lambda: 0.0, lambda: True, 60)\ndog.start()\ndog.end_within(1.5)")


@pytest.mark.parametrize(("code", "exit_code"), [(STUCK_PROCESS, EXIT_STUCK), (LATE_PROCESS, EXIT_LATE)])
def test_watchdog_and_deadline_end_a_process_whose_log_is_locked_and_full(
    unread: int, code: str, exit_code: int
) -> None:
    os.set_blocking(unread, False)
    os.write(unread, b"x" * 2 * PIPE_BYTES)
    os.set_blocking(unread, True)
    assert subprocess.run([sys.executable, "-c", code], stderr=unread, timeout=30, check=False).returncode == exit_code


def test_the_watchdog_says_why_and_where_each_thread_is() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK_PROCESS], capture_output=True, text=True, timeout=30, check=False
    )
    first, *stacks = done.stderr.splitlines()
    assert 'msg="watchdog ends the process"' in first
    assert 'reason="a call has not returned for 1000000000 s' in first
    assert "Thread MainThread, the innermost call first:" in stacks
    assert any(line.endswith("in hang") for line in stacks)


# Signals.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_to_stop_while_the_configuration_is_read_ends_the_process_with_0(
    tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "sidecar.yml"
    os.mkfifo(file)
    process = subprocess.Popen([str(PROGRAM), "run", f"--config.file={file}"], stderr=subprocess.PIPE)
    with file.open("wb"):  # waits until the process reads it
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (0, b"")


def test_a_signal_to_reload_while_the_configuration_is_read_is_a_reload_after_the_start(tmp_path: Path) -> None:
    """What changed after it was read would be missed otherwise."""
    file, changed, log = tmp_path / "sidecar.yml", tmp_path / "changed.yml", tmp_path / "log"
    os.mkfifo(file)
    changed.write_text("feeds: {exclude: ['test:*']}")
    command = [str(PROGRAM), "run", f"--config.file={file}", f"--web.listen-address=127.0.0.1:{free_port()}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stderr=output, env={**os.environ, **NO_BROKER})
    with file.open("wb"):  # waits until the process reads it
        changed.replace(file)
        process.send_signal(signal.SIGHUP)
    assert eventually(lambda: 'msg="configuration reloaded" changed=feeds.exclude' in log.read_text(), 30)
    process.terminate()
    assert process.wait(20) == 0


def test_signals_without_a_file_reload_secrets_or_do_nothing_and_a_second_one_to_stop_changes_nothing(
    tmp_path: Path,
) -> None:
    secret, file = tmp_path / "secret", tmp_path / "log"
    secret.write_text("first-word")
    with file.open("wb") as log:
        run = Run(log, MARKETDATA_REDIS__PASSWORD=f"${{file:{secret}}}")
    eventually(lambda: run.get("/-/healthy"), 30)
    secret.write_text("second-word")
    run.process.send_signal(signal.SIGHUP)
    eventually(lambda: "keys=redis.password" in file.read_text())
    assert "second-word" not in file.read_text()
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        run.process.send_signal(number)
        eventually(lambda name=number.name: f"signal={name}" in file.read_text())  # type: ignore[misc]
    assert run.get("/-/healthy") == "ok\n"
    run.process.terminate()
    run.process.send_signal(signal.SIGINT)
    assert run.stop() == 0


def test_a_call_that_never_returns_does_not_keep_the_process_from_stopping() -> None:
    """The main thread would have to run for a handler of Python's."""
    code = (
        "import os, signal, sys, threading\n"
        "from exporter.runtime import signals\n"
        "signals.take().stop_by(lambda: os._exit(7))\n"
        "print(flush=True)\n"
        "lock = threading.Lock()\n"
        "import ctypes\n"
        "ctypes.CDLL(None).sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(10) == 7


def test_it_ends_in_time_with_1_while_its_loop_hangs_and_nobody_reads_why(unread: int) -> None:
    port = free_port()
    command = [sys.executable, "-m", "tests.support.hanging", "run", f"--web.listen-address=127.0.0.1:{port}"]
    environment = {**os.environ, **NO_BROKER, **LOUD}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=unread, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hanging\n"
        process.terminate()
        assert process.wait(20) == EXIT_LATE


def test_it_ends_in_time_while_brokers_redis_registry_clients_and_stderr_hang(unread: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"  # its system accepts, and nobody answers
        hanging = {
            "MARKETDATA_KAFKA__BOOTSTRAP_SERVERS": address,
            "MARKETDATA_REDIS__URL": f"redis://{address}",
            "MARKETDATA_OUTPUT__SCHEMA_REGISTRY": f"http://{address}",
        }
        run = Run(unread, **{**LOUD, **hanging})
        eventually(lambda: run.get("/-/healthy"), 30)
        with socket.create_connection(("127.0.0.1", run.port)) as client:
            client.sendall(b"GET /api/v1/symbols HTTP/1.1\r\nHost: x\r\n\r\nGET ")
            run.process.terminate()
            assert run.process.wait(25) in (0, 1)


# Threads that die.


class Deaths:
    """What a guard reports."""

    def __init__(self) -> None:
        self.reported: list[str] = []
        self.guard = Guard(self.reported.append)

    def eventually(self, *words: str) -> None:
        """Wait for the only report, which has these words."""
        eventually(lambda: self.reported, 10, "no death was reported")
        (death,) = self.reported
        assert all(word in death for word in words), death


def poison() -> NoReturn:
    """Fail as no part is meant to."""
    raise ZeroDivisionError


class Poisoned(Circuit):
    """Fails whoever asks."""

    def allows(self, now: float) -> bool:
        """See Circuit."""
        raise ZeroDivisionError


class Ending(Shown):
    """Ends the thread that asks."""

    def healthy(self) -> Status:
        """See Views."""
        raise SystemExit


def test_a_watchdog_that_dies_is_reported() -> None:
    deaths = Deaths()
    Watchdog(poison, lambda: True, 0.2).start(deaths.guard.start)
    deaths.eventually("thread watchdog", "ZeroDivisionError", __file__)


def test_a_store_that_dies_is_reported() -> None:
    deaths = Deaths()
    metrics = StoreMetrics(CollectorRegistry())
    store = RedisStore(RedisConfig(url="redis://127.0.0.1:1"), metrics, Poisoned(), deaths.guard.start)
    store.start()
    deaths.eventually("thread store", "ZeroDivisionError")
    store.stop(1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_web_thread_that_dies_is_reported() -> None:
    deaths = Deaths()
    queries = Ending()
    server = WebServer(queries, "127.0.0.1", 0, "/metrics", metrics=queries.metrics, start_thread=deaths.guard.start)
    port = server.start()
    with pytest.raises(requests.RequestException):
        requests.get(f"http://127.0.0.1:{port}/-/healthy", timeout=0.2)  # nobody answers any more
    deaths.eventually("thread web", "SystemExit")
    server.stop()
    del server
    gc.collect()  # what the dead thread leaves open goes with its process


def test_only_the_first_of_several_deaths_is_reported() -> None:
    deaths = Deaths()
    for name in ("one", "two"):
        deaths.guard.start(name, poison).join()
    deaths.eventually("thread one")


class Dying(Sidecar):
    """Its thread that accepts dies of the first request for `/-/ready`."""

    def command(self) -> list[str]:
        """See Part."""
        _, *arguments = super().command()
        return [sys.executable, "-m", "tests.support.dying", *arguments]


def test_a_sidecar_whose_thread_dies_publishes_what_waits_and_ends_with_1(broker: Broker, tmp_path: Path) -> None:
    with Deployment(broker, tmp_path) as deployment:
        deployment.create_outputs()
        usual = deployment.sidecar()
        dying = Dying(tmp_path / "dying", usual.settings)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(ROOT))
            dying.start()
        deployment.traffic.write(90)
        eventually(lambda: dying.batches() == 90, 30)
        with pytest.raises(requests.RequestException):
            dying.get("/-/ready")
        assert eventually(dying.exit_code, 30) == 1
        assert "marketdata-exporter: the thread web-accept has died: SystemExit" in dying.log
        assert "Traceback" not in dying.log
        deployment.assert_told_once()
