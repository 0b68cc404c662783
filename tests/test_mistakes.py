"""Mistakes of users end with one clear line and a documented exit code, never with a traceback."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter import cli
from exporter.config.files import FILE_BYTES
from exporter.config.loader import keys
from tests.support.sidecar import PROGRAM

NEEDED = {"MARKETDATA_INPUT__GROUP": "group", "MARKETDATA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
ODD = [
    "", "\0", "\udcff", "30s", "-1", "9" * 5000, "[", "{a: b}", "null", "!!python/name:os", "${file:/etc}",
    "${X", "redis://h?foo=1", "unix:///x?db=z", "http://[", "1e999", ".nan", ":99999", "[::", "\x1b[31m", "2020-01-01",
    "${file:\0}", "*a", "&a", "- x", "? ", "%", "%s",
]  # fmt: skip


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    text: str

    def is_clear(self) -> bool:
        """Whether its exit code and its text are those of a mistake of the user."""
        words = ("Traceback", "of its own", "Exception ignored")
        is_printable = all(line.isprintable() for line in self.text.splitlines())
        return self.code in (0, 1, 2) and is_printable and not any(word in self.text for word in words)


def command(*arguments: str) -> Ended:
    """Run a command in this process."""
    err, out = io.StringIO(), io.StringIO()
    with redirect_stderr(err), redirect_stdout(out):
        try:
            code = cli.main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, err.getvalue() + out.getvalue())


def process(*arguments: str, **environment: str) -> Ended:
    """Run a command in a process of its own."""
    done = subprocess.run([str(PROGRAM), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                          env={**os.environ, **NEEDED, **environment}, check=False)  # fmt: skip
    return Ended(done.returncode, done.stdout.decode(errors="replace"))


@pytest.fixture(autouse=True)
def _needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


words = st.sampled_from(ODD) | st.text(max_size=20) | st.binary(max_size=20).map(os.fsdecode)
flags = st.builds("--{}={}".format, st.sampled_from(sorted(keys())).map(lambda key: key.replace("_", "-")), words)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.sampled_from(["run", "check", "healthcheck", "audit", "simulate", "demo", "nothing"]), st.lists(words))
def test_invalid_arguments_are_mistakes(name: str, arguments: list[str]) -> None:
    """In their place: the last one asks for nothing to be done."""
    ended = command(name, *arguments, "--no-such-option=1")
    assert ended.is_clear(), ended
    assert ended.code in (0, 2)


@FUZZ
@given(st.lists(flags, min_size=1, max_size=4))
def test_every_value_of_a_flag_is_accepted_or_a_mistake(arguments: list[str]) -> None:
    ended = command("healthcheck", "--web.listen-address=127.0.0.1:1", *arguments)
    assert ended.is_clear(), ended


@FUZZ
@given(st.binary(max_size=200) | st.text(st.sampled_from("{}[]:,&*!|>'\"%@`- \n#?ab1~"), max_size=60).map(str.encode))
def test_every_content_of_a_file_is_accepted_or_a_mistake(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "sidecar.yml"
    file.write_bytes(content)
    ended = command("healthcheck", "--web.listen-address=127.0.0.1:1", f"--config.file={file}")
    assert ended.is_clear(), ended


@pytest.mark.parametrize("file", ["/", "/nonexistent", "a\0b", "", "/proc/self/mem", "/dev/zero"])
def test_an_unreadable_configuration_is_a_mistake(file: str) -> None:
    ended = command("healthcheck", f"--config.file={file}")
    assert ended.code == cli.USAGE
    assert ended.is_clear(), ended


def test_the_size_of_a_configuration_is_limited() -> None:
    assert f"has more than {FILE_BYTES} bytes" in command("check", "--config.file=/dev/zero").text


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1?foo=1",
        "redis://127.0.0.1:1?retry_on_error=1",
        "redis://127.0.0.1:1?decode_responses=1",
        "redis://127.0.0.1:1?socket_timeout=abc",
        "rediss://127.0.0.1:1?ssl_cert_reqs=zzz",
        "unix:///nonexistent?db=x",
    ],
)
def test_an_unknown_option_of_the_redis_url_is_a_mistake(url: str) -> None:
    for name in ("run", "check"):
        # An address of another machine: nothing would run if the option were accepted.
        ended = command(name, f"--redis.url={url}", "--web.listen-address=8.8.8.8:80")
        assert ended == (cli.USAGE, ended.text)
        assert "redis.url" in ended.text
        assert ended.is_clear(), ended


def test_a_known_option_of_the_redis_url_is_accepted() -> None:
    urls = ("redis://127.0.0.1:1/3?socket_timeout=0.5&client_name=x", "unix:///nonexistent?db=3")
    # Side by side, as each waits for a broker.
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(lambda url: process("check", f"--redis.url={url}"), urls))
    assert [each.code for each in ended] == [cli.FATAL, cli.FATAL]


@pytest.mark.parametrize(
    "environment",
    [
        {"MARKETDATA_INPUT__GROUP": "\udcff\udcfe"},
        {"MARKETDATA_": "1", "MARKETDATA___": "1"},
        {"MARKETDATA_NO_SUCH": "x" * 100_000},
        {"LC_ALL": "xx_YY.zzz", "PYTHONIOENCODING": "ascii", "TZ": "Nonsense/\x01"},
        {
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONIOENCODING": "ascii:strict",
            "MARKETDATA_INPUT__TOPICS": "['\u00e9']",
        },
    ],
)
def test_an_odd_environment_is_accepted_or_a_mistake(environment: dict[str, str]) -> None:
    ended = process("healthcheck", **environment)
    assert ended.is_clear(), ended


def test_a_port_in_use_and_an_address_of_another_machine_end_with_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        for address in ("8.8.8.8:80", f"127.0.0.1:{other.getsockname()[1]}"):
            ended = process("run", f"--web.listen-address={address}")
            assert ended.code == cli.FATAL
            assert ended.is_clear(), ended
            assert f"marketdata-exporter: cannot listen on {address}" in ended.text


# What happens to a command from outside.


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["simulate", "--list"]])
@pytest.mark.parametrize(
    "redirection", [">/dev/full", ">&-", "2>&-", "2>/dev/full >/dev/full", "<&- >&- 2>&-", "| true"]
)
def test_output_without_a_reader_is_no_traceback(arguments: Sequence[str], redirection: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", str(PROGRAM), *arguments], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert Ended(done.returncode, done.stderr).is_clear(), done


@pytest.mark.parametrize(("number", "code"), [("INT", 130), ("TERM", 143)])
@pytest.mark.parametrize("name", ["check", "healthcheck"])
def test_an_interrupted_command_prints_nothing_and_has_the_exit_code_of_the_signal(
    tmp_path: Path, name: str, number: str, code: int
) -> None:
    """While it reads its configuration, from a file that never ends."""
    file = tmp_path / "never"
    os.mkfifo(file)
    arguments = [str(PROGRAM), name, f"--config.file={file}"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        with file.open("wb"):
            subprocess.run(["kill", f"-{number}", str(running.pid)], check=True)
            out, err = running.communicate(timeout=20)
        assert (running.returncode, out, err) == (code, b"", b"")


ASKING = {
    "check": ["check", "--kafka.bootstrap-servers={}"],
    "check of Redis": ["check", "--redis.url=redis://{}"],
    "check of a registry": ["check", "--output.encoding=avro", "--output.schema-registry=http://{}"],
    "audit": ["audit", "--bootstrap-servers={}"],
    "simulate": ["simulate", "healthy", "--bootstrap-servers={}"],
    "healthcheck": ["healthcheck", "--web.listen-address={}"],
}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("arguments", ASKING.values(), ids=ASKING)
def test_a_command_that_waits_for_an_answer_is_interrupted_at_once(
    arguments: list[str], number: signal.Signals, code: int
) -> None:
    """In any call; it prints nothing, and its connection is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as open_connections:
        server.settimeout(60)
        given = [argument.format(f"127.0.0.1:{server.getsockname()[1]}") for argument in arguments]
        with subprocess.Popen(
            [str(PROGRAM), *given], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, **NEEDED}
        ) as running:
            connection, _ = server.accept()
            open_connections.enter_context(connection)
            assert connection.recv(1)  # it has asked
            running.send_signal(number)
            _, err = running.communicate(timeout=20)
        assert (running.returncode, err) == (code, b"")


def test_an_internal_error_is_one_line_without_the_message() -> None:
    code = (
        "import sys\nfrom exporter import cli\nfrom exporter.tools.audit import command as audit\n"
        "def fail(*_: object) -> int: raise ZeroDivisionError('secret')\n"
        "audit.main = fail\nsys.exit(cli.main(['audit']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == cli.FATAL
    (line,) = done.stderr.splitlines()
    assert "internal error" in line
    assert "ZeroDivisionError" in line
    assert "secret" not in line


def test_output_whose_reader_ends_early_ends_quietly_and_any_other_broken_pipe_with_a_line() -> None:
    code = (
        "import sys\nfrom exporter import cli\nfrom exporter.tools.audit import command as audit\n"
        "def fail(*_: object) -> int:\n    print('x' * 100_000)\n    raise BrokenPipeError(32, 'of a socket')\n"
        "audit.main = fail\nsys.exit(cli.main(['audit']))"
    )
    read = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (read.returncode, read.stderr) == (1, "marketdata-exporter: [Errno 32] of a socket\n")
    shell = ["sh", "-c", '("$@"; echo $? >&2) | true', "sh", sys.executable, "-c", code]
    unread = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert unread.stderr == "1\n"
