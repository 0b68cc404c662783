"""The command `status`: asks sidecars what their live pages show, and prints it as one."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import NOT_FOUND
from typing import Any
from urllib.parse import urlsplit

from exporter.config.files import read_text
from exporter.config.layers import Problem
from exporter.config.loader import ConfigError, load
from exporter.config.schema import Config
from exporter.config.secrets import secrets_in, shown_text
from exporter.runtime.clock import SystemClock
from exporter.runtime.foreign_text import add_secrets, printable
from exporter.tools import healthcheck
from exporter.tools.status.overview import MalformedError, Overview, SidecarStatus, overview, read
from exporter.tools.status.text import as_text

PATH, RISK = "/api/v1/status", "/api/v1/risk"
# Some 400 bytes a feed.
ANSWER_BYTES = 100_000_000
ERROR_MAX = 300
AT_ONCE = 16
_PARTS = ("feeds", "sources", "rates", "portfolios")
# Each line overwrites the last one there, and ends it: a terminal that is cleared first flickers.
_HOME, _END_OF_LINE, _END = "\x1b[H", "\x1b[K\n", "\x1b[J"
_DESCRIPTION = """Print what the live pages of sidecars show: the sidecars, then each feed once, the worst state first;
sources and rates of ingestion events and portfolios, where these parts are on. Exit 0 when all is well, 1 when a feed
or source is unknown, partial or delayed, a rate is too old, a portfolio is unknown or breaches a limit or a sidecar is
not ready, 3 when a feed is frozen, rejected, silent or stalled, a source is silent, a portfolio is stopped or a sidecar
gives no answer, 2 for wrong usage. Users and certificates are those of
web.client in the configuration."""

Ask = Callable[[], SidecarStatus]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the description and the options of the command to a parser."""
    parser.description = _DESCRIPTION
    add = parser.add_argument
    add("urls", nargs="*", metavar="URL", help="a sidecar, as http://host:8000 or host:8000 (default: this machine's)")
    add("--config.file", dest="config_file", metavar="FILE", help="the sidecar's configuration")
    add("--problems", action="store_true", help="leave out feeds that are ok or in maintenance")
    add("--json", action="store_true", help="print JSON, a line each time")
    add("--timeout", type=_seconds, default=5.0, metavar="SECONDS", help="for each answer (default: %(default)s)")
    add(
        "--watch",
        type=_seconds,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="print again after so many seconds, until interrupted (default: %(const)s)",
    )


def main(args: argparse.Namespace) -> int:
    """Print the state once, or until a signal ends it; return the exit code."""
    try:
        sidecars = list(_sidecars(args, _config(args)))
    except ValueError as error:
        print(f"status: {error}", file=sys.stderr)
        return 2
    with ThreadPoolExecutor(AT_ONCE, "status") as pool:
        while True:
            shown = overview(pool.map(lambda ask: ask(), sidecars))
            _print(args, shown)
            if args.watch is None:
                return shown.exit_code
            time.sleep(args.watch)


def _print(args: argparse.Namespace, shown: Overview) -> None:
    is_terminal = sys.stdout.isatty()
    if args.json:
        print(json.dumps(as_json(shown)), flush=True)
        return
    is_screen = is_terminal and args.watch is not None
    colors, size = is_terminal and "NO_COLOR" not in os.environ, _size() if is_screen else None
    text = as_text(shown, SystemClock.now_ms(), problems=args.problems, colors=colors, size=size)
    if is_screen:
        text = _HOME + text.replace("\n", _END_OF_LINE) + _END_OF_LINE + _END
    print(text, end="" if is_screen else "\n", flush=True)


def _size() -> tuple[int, int] | None:
    """Return the columns and rows of the terminal; None for one that gives none, such as a serial line."""
    found = os.get_terminal_size(sys.stdout.fileno())
    return (found.columns, found.lines) if found.columns and found.lines else None


def as_json(shown: Overview) -> dict[str, object]:
    """Return the exit code, the sidecars and what they show, each once, for JSON."""
    sidecars = [{**each._asdict(), **{name: len(getattr(each, name)) for name in _PARTS}} for each in shown.sidecars]
    parts = {name: [each._asdict() for each in getattr(shown, name)] for name in _PARTS}
    return {"exit_code": shown.exit_code, "sidecars": sidecars, **parts}


def _config(args: argparse.Namespace) -> Config:
    """Return the configuration; without a file, only that of `web.client` in the environment matters."""
    given = {} if args.config_file else {"input.group": "status", "kafka.bootstrap_servers": "localhost:9092"}
    try:
        text = read_text(args.config_file) if args.config_file else None
    except (OSError, ValueError) as error:
        raise ConfigError((Problem("", f"the file cannot be read: {error}", "--config.file"),)) from None
    return load(text, os.environ, given, hostname=socket.gethostname(), read_file=read_text, on_secrets=add_secrets)


def _sidecars(args: argparse.Namespace, config: Config) -> Iterator[Ask]:
    """Yield a function for each sidecar that asks it; raise ValueError for what is no URL."""
    for url in args.urls:
        yield partial(_ask, _url(url), partial(_remote, _url(url), args.timeout, config))
    if not args.urls:
        address = config.web.listen_address
        yield partial(_ask, healthcheck.authority(address), partial(_local, address, args.timeout, config))


def _url(text: str) -> str:
    """Return an address with its scheme and without a slash at the end."""
    add_secrets(secrets_in(text, "url"))
    url = text if "://" in text else f"http://{text}"
    if not _is_url(url):
        raise ValueError(f"{printable(shown_text(text), ERROR_MAX)} is no URL such as http://host:8000")
    return url.rstrip("/")


def _is_url(text: str) -> bool:
    try:
        parsed = urlsplit(text)
        has_host = bool(parsed.hostname) and parsed.port != 0
    except ValueError:
        return False
    return has_host and parsed.scheme in ("http", "https") and not parsed.query and not parsed.fragment


def _ask(url: str, answer: Callable[[str], bytes | str]) -> SidecarStatus:
    """Return what a sidecar shows, or why it gives no answer; `answer` returns that at a path."""
    from exporter.tools.remote import Refused

    shown = printable(shown_text(url), ERROR_MAX)
    try:
        return read(shown, json.loads(answer(PATH))["data"], _risk(answer))
    except (OSError, Refused, MalformedError) as error:
        return SidecarStatus(shown, printable(str(error), ERROR_MAX) or type(error).__name__)
    except (ValueError, TypeError, KeyError, RecursionError):
        return SidecarStatus(shown, "the response is not that of a sidecar")


def _risk(answer: Callable[[str], bytes | str]) -> Any:
    """Return what is shown of risk; None where it is off."""
    from exporter.tools.remote import Refused

    try:
        return json.loads(answer(RISK))["data"]
    except Refused as error:
        if error.status != NOT_FOUND:
            raise
        return None


def _remote(url: str, seconds: float, config: Config, path: str) -> bytes:
    from exporter.tools import remote

    return remote.body(f"{url}{path}", "application/json", seconds, ANSWER_BYTES, config.web.client)


def _local(listen_address: str, seconds: float, config: Config, path: str) -> str:
    from exporter.tools.remote import Refused

    answer = healthcheck.ask(listen_address, path, seconds, config.web)
    if answer.status != 200:
        raise Refused(f"the response is {answer.status}", answer.status)
    return answer.text


def _seconds(text: str) -> float:
    """Return seconds; raise ArgumentTypeError unless they are 0.1 to 3600."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected seconds from 0.1 to 3600")
    return seconds
