"""Under systemd the sidecar reports its start, its status, signs of life and its stop; the shipped unit is valid."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Status
from exporter.runtime import service_manager
from exporter.runtime.service_manager import STATUS_CHARACTERS, ServiceManager, status_text, take
from tests.support.missing import program
from tests.support.process import free_port
from tests.support.sidecar import Sidecar

UNIT = Path(__file__).parents[1] / "docs" / "marketdata-exporter.service"
# The exposure that systemd-analyze calls OK; it is multiplied by ten.
EXPOSURE_MAX = 20


class Manager:
    """The receiving end of the protocol of sd_notify(3), as systemd has it."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(20)

    def received(self) -> str:
        return self.socket.recv(4096).decode()

    def until(self, text: str) -> list[str]:
        """Everything that comes up to a message that begins with this text."""
        found = [self.received()]
        while not found[-1].startswith(text):
            found.append(self.received())
        return found


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def manager(address: str) -> Iterator[Manager]:
    manager = Manager(address)
    with manager.socket:
        yield manager


def test_a_sidecar_without_kafka_has_started_is_alive_and_says_why_it_is_not_ready(
    manager: Manager, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of Kafka is no failure of the service."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    sidecar = Sidecar(tmp_path, {"kafka.bootstrap_servers": f"127.0.0.1:{free_port()}"})
    sidecar.start()
    assert manager.received() == "READY=1"
    assert manager.received().startswith("STATUS=not ready: no broker has answered yet")
    assert manager.until("WATCHDOG=1")
    sidecar.stop()
    assert manager.until("STOPPING=1")


def test_a_process_that_is_not_healthy_gives_no_sign_of_life(manager: Manager, address: str) -> None:
    """So that the manager ends it."""
    states = iter([Status(True), Status(False), Status(False), Status(True)])
    reporter = ServiceManager(address, watchdog_seconds=0.003)

    def healthy() -> Status:
        if (state := next(states, None)) is None:
            reporter.stop()
            return Status(False)
        return state

    started = threading.Event()
    started.set()
    reporter.report(started, healthy, lambda: Status(True))
    assert manager.until("STOPPING=1") == ["READY=1", "STATUS=ready", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def test_the_status_is_reported_at_each_change_only(manager: Manager, address: str) -> None:
    reporter = ServiceManager(address, watchdog_seconds=0.003)
    texts = iter(["a", "a", "b"])

    def ready() -> Status:
        if (text := next(texts, None)) is None:
            reporter.stop()
            return Status(False, ("b",))
        return Status(False, (text,))

    started = threading.Event()
    started.set()
    reporter.report(started, lambda: Status(False), ready)
    assert manager.until("STOPPING=1") == ["READY=1", "STATUS=not ready: a", "STATUS=not ready: b", "STOPPING=1"]


def test_the_socket_may_be_in_the_abstract_namespace() -> None:
    name = f"@marketdata-test-{os.getpid()}"
    manager = Manager(name)
    with manager.socket:
        ServiceManager(name).stop()
        assert manager.received() == "STOPPING=1"


def test_a_manager_that_is_gone_is_reported_once(address: str, caplog: pytest.LogCaptureFixture) -> None:
    reporter = ServiceManager(address)
    reporter.stop()
    reporter.stop()
    assert [record.getMessage() for record in caplog.records] == ["the service manager cannot be notified"]


def test_without_a_service_manager_there_is_nobody_to_notify() -> None:
    assert take({}) is None
    assert take({"NOTIFY_SOCKET": "vsock:2:1234"}) is None


def test_child_processes_do_not_inherit_the_service_manager() -> None:
    environment = dict.fromkeys(service_manager.VARIABLES, "@x") | {"HOME": "/"}
    assert take(environment) is not None
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    ("microseconds", "watched", "seconds"),
    [("3000000", "", 3), ("3000000", "7", 3), ("3000000", "8", 0), ("soon", "", 0), ("", "", 0)],
)
def test_the_watchdog_of_this_process_is_served(microseconds: str, watched: str, seconds: float) -> None:
    """And none of another process."""
    reporter = take({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": microseconds, "WATCHDOG_PID": watched}, pid=7)
    assert reporter is not None
    assert reporter.watchdog_seconds == seconds


@given(st.booleans(), st.lists(st.text()), st.lists(st.text()))
def test_a_status_is_one_short_line(ok: bool, reasons: list[str], warnings: list[str]) -> None:
    text = status_text(Status(ok, tuple(reasons), tuple(warnings)))
    assert text.startswith("ready" if ok else "not ready")
    assert "\n" not in text
    assert len(text) <= STATUS_CHARACTERS


def test_the_unit_is_valid(tmp_path: Path) -> None:
    """With a program that is there in place of the one in /opt."""
    file = tmp_path / UNIT.name
    file.write_text(UNIT.read_text().replace("/opt/marketdata-exporter/bin/marketdata-exporter", "/bin/true"))
    verify = [program("systemd-analyze", "systemd"), "verify", "--man=no", str(file)]
    done = subprocess.run(verify, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_leaves_the_service_few_rights() -> None:
    analyze = [program("systemd-analyze", "systemd"), "security", "--offline=true", f"--threshold={EXPOSURE_MAX}"]
    done = subprocess.run([*analyze, str(UNIT)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout
