"""What a command loads: start-up costs what it imports, and a container asks for its health every few seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Loading one of these takes longer than the interpreter itself.
HEAVY = frozenset(
    {"aiohttp", "asyncio", "confluent_kafka", "email", "fastavro", "http", "orjson", "prometheus_client", "redis",
     "requests", "ssl", "urllib3", "zoneinfo"}
)  # fmt: skip
AT_THE_END = "import atexit, sys\natexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
PROGRAM = AT_THE_END + "from exporter.cli import main\nsys.exit(main())"


def loaded(code: str, *arguments: str) -> frozenset[str]:
    """The modules, by the first word of their name, that are there when the code has run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARKETDATA_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False,
        env=environment | {"MARKETDATA_INPUT__GROUP": "group"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return frozenset(name.partition(".")[0] for name in done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["healthcheck"],
        ["healthcheck", "--config.file=sidecar.yml", "--web.listen-address=[::]:1"],
        ["healthcheck", "--config.file=wrong.yml"],
        ["healthcheck", "--config.file=formats.yml"],
        ["healthcheck", "--help"],
        ["run", "--help"],
        ["check", "--help"],
        ["--help"],
        [],
    ],
)
def test_a_command_that_needs_no_client_loads_none(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`healthcheck` reads the whole configuration, from all its layers, and says what is wrong with it."""
    (tmp_path / "sidecar.yml").write_text("kafka: {properties: {sasl.mechanism: PLAIN}}\nredis: {url: 'redis://redis'}")
    (tmp_path / "wrong.yml").write_text("web: {listen_address: nowhere}")
    (tmp_path / "formats.yml").write_text("input: {topics: ['^trades-'], formats: [cryptofeed]}")
    monkeypatch.chdir(tmp_path)
    assert loaded(PROGRAM, *arguments) & HEAVY == set()


def test_the_version_is_looked_up_only_when_it_is_asked_for() -> None:
    """In what the installation knows of the package, which takes a parser of e-mail."""
    assert loaded(PROGRAM, "--version") & HEAVY == {"email"}


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        ("run", {"redis", "requests"}),
        ("check", {"redis", "requests"}),
        ("demo", {"redis", "requests"}),
        ("audit", {"aiohttp", "redis", "requests"}),
        ("simulate", {"aiohttp", "fastavro", "prometheus_client", "redis", "requests"}),
    ],
)
def test_a_command_loads_no_client_of_what_is_not_configured(command: str, unneeded: set[str]) -> None:
    assert loaded(f"{AT_THE_END}from exporter.cli import _tool\n_tool({command!r})") & unneeded == set()
