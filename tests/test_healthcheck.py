"""Questions to this machine's own sidecar: they reach what listens there, whatever the environment says of proxies."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from exporter.model import Status
from exporter.tools import healthcheck
from exporter.tools.audit import command
from tests.support.process import free_port
from tests.support.queries import site
from tests.support.sidecar import PROGRAM

NOWHERE = "http://127.0.0.1:1"
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")


def run(address: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `healthcheck` for a sidecar that listens there."""
    command = [str(PROGRAM), "healthcheck", f"--web.listen-address={address}"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | environment
    )


def own_address() -> str:
    """An address of this machine that is not loopback, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@contextmanager
def answering(answer: bytes, ends: bool = True) -> Iterator[str]:
    """The address of a server that answers the first connection so, without reading, and perhaps never closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.sendall(answer)
                except OSError:
                    return
                if ends:
                    connection.shutdown(socket.SHUT_WR)
                done.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            done.set()
            thread.join()


# Where it asks.


@pytest.mark.parametrize("address", [":{}", "0.0.0.0:{}", "[::]:{}", "127.0.0.1:{}", "localhost:{}", "[::1]:{}"])
def test_whoever_listens_everywhere_is_reached_by_loopback(address: str) -> None:
    with site(host="") as sidecar:
        assert healthcheck.ask(address.format(sidecar.port), "/-/healthy", 5).status == 200


@pytest.mark.parametrize("address", [":{}", "[::]:{}"])
def test_either_family_of_addresses_is_enough(address: str) -> None:
    """Where the kernel has no IPv6, or keeps it apart, what listens on all addresses has one of the two."""
    with site(host="127.0.0.1") as sidecar:
        assert healthcheck.ask(address.format(sidecar.port), "/-/healthy", 5).status == 200
    with site(host="::1") as sidecar:
        assert healthcheck.ask(address.format(sidecar.port), "/-/healthy", 5).status == 200


def test_an_interface_of_its_own_is_asked_there() -> None:
    """Another sidecar on the same port of another address is not this one."""
    with site(host="127.0.0.2") as sidecar:
        assert run(f"127.0.0.2:{sidecar.port}").returncode == 0
        assert run(f"127.0.0.1:{sidecar.port}").returncode == 1


def test_the_address_comes_from_file_environment_and_flags_in_this_order(tmp_path: Path) -> None:
    """And the path of the metrics does not matter."""
    file = tmp_path / "sidecar.yml"
    with site() as sidecar:
        right, wrong = f"127.0.0.1:{sidecar.port}", f"127.0.0.1:{free_port()}"
        sources = [
            (right, {}, []),
            (wrong, {"MARKETDATA_WEB__LISTEN_ADDRESS": right}, []),
            (wrong, {"MARKETDATA_WEB__LISTEN_ADDRESS": wrong}, [f"--web.listen-address={right}"]),
        ]
        for in_file, environment, flags in sources:
            file.write_text(f"web: {{listen_address: '{in_file}', telemetry_path: /any/metrics}}")
            command = [str(PROGRAM), "healthcheck", f"--config.file={file}", *flags]
            asked = subprocess.run(command, timeout=60, check=False, env=os.environ | environment)
            assert asked.returncode == 0


# What it says.


def test_a_sidecar_that_is_not_healthy_says_why() -> None:
    with site() as sidecar:
        sidecar.queries.health = Status(False, ("no turn for 31 s",))
        asked = run(f"127.0.0.1:{sidecar.port}")
    assert (asked.returncode, asked.stderr) == (1, "unhealthy: no turn for 31 s\n")


def test_nothing_that_listens_is_unhealthy() -> None:
    address = f"127.0.0.1:{free_port()}"
    asked = run(address)
    assert (asked.returncode, asked.stderr) == (1, f"unhealthy: no answer from {address}: Connection refused\n")


def test_text_for_a_terminal_is_shown_without_its_control_characters() -> None:
    with answering(b"HTTP/1.0 503 no\r\n\r\n\x1b]0;title\x07") as address:
        asked = run(address)
    assert asked.returncode == 1
    assert "\x1b" not in asked.stderr
    assert "title" in asked.stderr


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.0 healthy\r\n\r\n", b"\x15\x03\x01\x00\x02\x02"]
)
def test_what_is_no_http_is_no_answer(answer: bytes) -> None:
    with answering(answer) as address, pytest.raises(OSError, match="the answer is not HTTP"):
        healthcheck.ask(address, "/", 5)


def test_an_answer_has_an_end_in_time_and_size() -> None:
    """However it is cut into pieces."""
    with answering(b"HTTP/1.0 200 OK\r\n", ends=False) as address, pytest.raises(TimeoutError):
        healthcheck.ask(address, "/", 0.1)
    with answering(bytes(healthcheck.ANSWER_BYTES + 1)) as address, pytest.raises(OSError, match="is larger than"):
        healthcheck.ask(address, "/", 60)


# Proxies and passwords of the environment.


@pytest.mark.parametrize("exceptions", ["", "localhost", "example.org,.internal"])
def test_no_proxy_stands_between_a_machine_and_itself(exceptions: str) -> None:
    environment = dict.fromkeys(PROXIES, NOWHERE) | {"NO_PROXY": exceptions, "no_proxy": exceptions}
    with site() as sidecar:
        assert run(f":{sidecar.port}", **environment).returncode == 0


@pytest.fixture
def received() -> Iterator[tuple[int, list[tuple[str, str | None]]]]:
    """The port of a server that has metrics, and what it was asked for, each with the password that came with it."""
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'marketdata_records_total{topic="ticker"} 1\n')

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port, asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets a proxy for everything, and a password for every host."""

    def set_proxy(url: str) -> None:
        for name in PROXIES:
            monkeypatch.setenv(name, url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        (tmp_path / "netrc").write_text("default login me password sesame\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    return set_proxy


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2", "0.0.0.0", own_address()])
def test_audit_asks_this_machine_without_a_proxy_and_without_a_password(
    host: str, received: tuple[int, list[tuple[str, str | None]]], environment: Callable[[str], None]
) -> None:
    port, asked = received
    environment(NOWHERE)
    truth = command._read_metrics([f"http://{host}:{port}/metrics"], 5)
    assert truth.records["ticker"] == 1
    assert asked == [("/metrics", None)]


def test_audit_asks_other_machines_as_the_environment_says(
    received: tuple[int, list[tuple[str, str | None]]], environment: Callable[[str], None]
) -> None:
    """A sidecar elsewhere may be behind a proxy; its name need not even be known here."""
    port, asked = received
    environment(f"http://127.0.0.1:{port}")
    truth = command._read_metrics(["http://sidecar.invalid:8000/metrics", f"http://127.0.0.1:{port}/metrics"], 5)
    assert truth.records["ticker"] == 2
    assert [path for path, _ in asked] == ["http://sidecar.invalid:8000/metrics", "/metrics"]
    assert asked[1][1] is None


@pytest.mark.parametrize("url", ["http://[/metrics", "http://", "nothing"])
def test_what_is_no_url_is_a_line_and_no_traceback(url: str) -> None:
    with pytest.raises(command.AuditError, match=r"nothing|http"):
        command._read_metrics([url], 5)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", True),
        (own_address(), True), ("192.0.2.1", False), ("2001:db8::1", False), ("sidecar.invalid", False),
    ],
)  # fmt: skip
def test_an_address_is_local_when_a_socket_can_be_bound_to_it(host: str, is_local: bool) -> None:
    assert healthcheck.is_local(host) is is_local
