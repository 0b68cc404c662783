"""The command line: one program with subcommands; arguments become a `Config`, exit codes say how it went.

0 clean stop, 1 fatal at run time, 2 usage or configuration. One clear line on stderr, no traceback.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, get_origin

from confluent_kafka import KafkaException

from exporter import clients, interpreter, logs
from exporter.app import App
from exporter.configuration.config import Config, Section
from exporter.configuration.files import read_text
from exporter.configuration.layers import Problem
from exporter.configuration.settings import ConfigError, expected, keys, load
from exporter.unreachable import said
from exporter.version import version
from exporter.watchdog import Watchdog

OK, FATAL, USAGE = 0, 1, 2
# Clients have 20 of them to say goodbye; a supervisor usually waits 30 before it kills.
STOP_SECONDS = 25.0

_TOOLS = {
    "demo": "show the sidecar at work: embedded broker, simulated collectors, the real sidecar",
    "simulate": "play a failure against a broker, to see states and alerts work",
    "audit": "compare the input topics, the event topic and /metrics",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    args = _parser().parse_args(arguments)
    try:
        return int(args.command(args))
    except ConfigError as error:
        print(f"the configuration is wrong:\n{error}", file=sys.stderr)
        return USAGE
    except (KafkaException, OSError) as error:
        print(f"marketdata-exporter: {said(error)}", file=sys.stderr)
        return FATAL


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="marketdata-exporter", description="Metrics and events about market-data feeds."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Command)
    run = _configured(commands, "run", "consume, serve metrics and publish events")
    run.add_argument(
        "--until-caught-up", action="store_true", help="stop at the end that each partition has at the start"
    )
    run.add_argument("--create-topics", action="store_true", help="create output topics that are missing")
    run.set_defaults(command=_run)
    checking = _configured(commands, "check", "look for mistakes before `run` would meet them; changes nothing")
    checking.set_defaults(command=lambda args: _tool("check").main(_config(args)))
    healthy = _configured(commands, "healthcheck", "ask the sidecar on this machine whether its loop turns")
    healthy.set_defaults(command=lambda args: _tool("healthcheck").main(_config(args)))
    for name, text in _TOOLS.items():
        commands.add_parser(name, help=text, allow_abbrev=False, tool=name)
    return parser


class _Command(argparse.ArgumentParser):
    """The parser of a subcommand; that of a `tool` learns its arguments from the tool once it is asked for."""

    def __init__(self, *, tool: str | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self._tool = tool

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See ArgumentParser."""
        if self._tool is not None:
            tool, self._tool = _tool(self._tool), None
            tool.add_arguments(self)
            self.set_defaults(command=tool.main)
        return super().parse_known_args(args, namespace)


def _tool(name: str) -> Any:
    # `run` needs no tool, nor the clients that tools bring, which would take memory as long as it runs.
    return import_module(f"exporter.tools.{name}")


def _configured(commands: argparse._SubParsersAction[_Command], name: str, text: str) -> argparse.ArgumentParser:
    """Add a subcommand that takes the configuration: a file, and a flag for each key that has one value."""
    usage = f"marketdata-exporter {name} [--config.file FILE] [--KEY VALUE ...]"
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, usage=usage, allow_abbrev=False
    )
    parser.add_argument("--config.file", dest="config_file", metavar="FILE", help="YAML; see reference.yml")
    group = parser.add_argument_group("configuration", "every key of the file that has one value or a list")
    for path, kind in keys().items():
        if not (isinstance(kind, type) and issubclass(kind, Section)) and get_origin(kind) is not dict:
            flag = "--" + path.replace("_", "-")
            allowed = expected(kind).replace("%", "%%")
            group.add_argument(flag, dest=path, metavar="VALUE", default=argparse.SUPPRESS, help=allowed)
    return parser


def _config(args: argparse.Namespace) -> Config:
    flags: dict[str, object] = {path: value for path, value in vars(args).items() if path in keys()}
    if getattr(args, "create_topics", False):
        flags["output.create_topics"] = {}
    return load_config(args.config_file, os.environ, flags)


def load_config(file: str | None, env: Mapping[str, str], flags: Mapping[str, object]) -> Config:
    """Return the configuration of this process; raise `ConfigError`."""
    try:
        text = None if file is None else read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError((Problem("", f"the file cannot be read: {error}", "--config.file"),)) from None
    return load(text, env, flags, hostname=socket.gethostname(), read_file=read_text)


def _run(args: argparse.Namespace) -> int:
    config = _config(args)
    logs.configure(config.log.level, config.log.format)
    app = App(config, until_caught_up=args.until_caught_up)
    dog = Watchdog(app.loop.stuck_seconds, partial(clients.answers, config), clients.stuck_seconds(config))
    dog.start()
    interpreter.settle()

    def stop(*_: object) -> None:
        app.stop()
        dog.end_within(STOP_SECONDS)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        clean = app.run()
    except (KafkaException, OSError) as error:
        print(f"marketdata-exporter: {said(error)}", file=sys.stderr)
        clean = False
    if not clean:
        # Some client is stuck or broken; the end of the interpreter would wait for it.
        sys.stderr.flush()
        os._exit(FATAL)
    return OK
