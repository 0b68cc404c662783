"""The command line: subcommands, their arguments as a `Config`, and exit codes.

0 clean stop, 1 fatal error at run time, 2 wrong usage or configuration. An error is one line on stderr, without
traceback. Commands are imported when used: `healthcheck` runs every few seconds and must start faster than a sidecar.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, get_origin

if TYPE_CHECKING:
    from exporter.config.conflicts import Conflict
    from exporter.config.schema import Config

OK, FATAL, USAGE = 0, 1, 2

_PROGRAM = "marketdata-exporter"
_CONFIGURED = {
    "run": "consume, serve metrics and publish events",
    "cache": "have caches in Redis follow the events of ingesting services",
    "check": "report mistakes before `run` meets them; changes nothing",
    "explain": "show what becomes of one record, field by field, and which format it has",
    "replay": "analyze records of the past at their own time; changes nothing",
    "healthcheck": "check that the loop of the sidecar on this machine turns",
    "risk": "show the risk of portfolios, and what scenarios would do to them; publishes nothing",
}
# What a command takes beside the configuration.
_OPTIONS = {
    "run": ("until_caught_up",),
    "cache": ("creates_topics",),
    "explain": ("topic", "file"),
    "replay": ("topics", "file", "since", "until", "record", "html", "json", "what_if", "prometheus"),
    "healthcheck": ("ready",),
    "risk": ("what_if", "recording", "records", "as_json"),
}
# How the usage names what comes before the configuration.
_USAGE = {
    "explain": " [TOPIC[/PARTITION/OFFSET]] [--file FILE]",
    "replay": " [TOPIC[/PARTITION[/FROM-TO]] ...] [--file RECORDING] [--since TIME] [--until TIME]",
}
# Every user of the machine can read command lines.
_WITHOUT_FLAG = {"web.client.password"}
# As other exporters name them.
_OTHER_FLAGS = {"web.config_file": ["--web.config.file"]}
_TOOLS = {
    "demo": "run an embedded broker, simulated collectors and the real sidecar",
    "simulate": "simulate a failure on a broker, to test states and alerts",
    "loadtest": "load brokers, a sidecar and Redis, and measure how they stand it",
    "report": "write the reports of a load test from its results, compared with an earlier one",
    "audit": "compare the input topics, the event topic and /metrics",
    "status": "print what the live pages of sidecars show",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code; without `arguments`, use those and the signals of the process."""
    if arguments is None:
        _prepare_process(sys.argv[1:2])
    try:
        try:
            args = _parsed(arguments)
            return int(args.command(args))
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        return _report_failure(error)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        from exporter.config.secrets import flag_names

        parser.error(f"unrecognized arguments: {flag_names(unknown)}")
    return args


def _prepare_process(command: Sequence[str]) -> None:
    """Prepare the process first: no signal is lost while a service loads, and none waits for a call of others."""
    _open_standard_files()
    from exporter.runtime import signals

    signals.take(signals.Signals if command in (["run"], ["cache"]) else signals.Interruptions)
    import logging

    # A command that does not configure logging prints its errors itself.
    logging.getLogger("exporter").addHandler(logging.NullHandler())


def _open_standard_files() -> None:
    """Open closed standard files: otherwise a socket could get the number of stderr and receive its output."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _report_failure(error: Exception) -> int:
    """Print an error and return the exit code."""
    from exporter.config.loader import ConfigError

    if isinstance(error, ConfigError):
        return _print_error(f"the configuration is invalid:\n{error}", USAGE)
    if isinstance(error, BrokenPipeError) and _has_no_reader():
        _discard_output()
        return FATAL
    from confluent_kafka import KafkaException

    from exporter.kafka.connection_errors import error_text

    if isinstance(error, KafkaException | OSError):
        return _print_error(f"marketdata-exporter: {error_text(error)}", FATAL)
    from exporter.runtime.threads import described

    return _print_error(f"marketdata-exporter: internal error, please report it: {described(error)}", FATAL)


def _has_no_reader() -> bool:
    """Return whether the reader of the output has ended."""
    poll = select.poll()
    poll.register(1, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _print_error(text: str, code: int) -> int:
    """Print a line on stderr, if that is possible, and return the exit code."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
    _discard_output()
    return code


def _discard_output() -> None:
    """Discard buffered output that cannot be written: Python would fail with it at exit, with the code 120."""
    for file in (sys.stdout, sys.stderr):
        try:
            if file is not None:
                file.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=_PROGRAM, description="Metrics and events about market-data feeds.")
    parser.add_argument("--version", action=_Version, help="show program's version number and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", prog=_PROGRAM, parser_class=_Command)
    for name, text in _CONFIGURED.items():
        commands.add_parser(name, help=text, allow_abbrev=False, fill=partial(_add_configuration_arguments, name))
    for name, text in _TOOLS.items():
        commands.add_parser(name, help=text, allow_abbrev=False, fill=partial(_add_tool_arguments, name))
    return parser


class _Version(argparse.Action):
    """Action that prints the version; looking it up takes longer than the rest of the command line."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """See argparse.Action."""
        from exporter.core import in_use
        from exporter.runtime.version import __version__

        print(parser.prog, __version__, f"({in_use()} core)")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """A parser whose messages contain no control characters."""

    def error(self, message: str) -> NoReturn:
        """See ArgumentParser."""
        super().error(message if message.isprintable() else message.encode("unicode_escape").decode())


class _Command(_Parser):
    """The parser of a subcommand, to which `fill` adds the arguments when it is used."""

    def __init__(self, *, fill: Callable[[argparse.ArgumentParser], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._fill: Callable[[argparse.ArgumentParser], None] | None = fill

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See ArgumentParser."""
        if self._fill is not None:
            fill, self._fill = self._fill, None
            fill(self)
        return super().parse_known_args(args, namespace)


def _tool(name: str) -> Any:
    # Only the used tool is imported: the clients of other tools would take memory as long as `run` runs.
    in_a_file = name in ("run", "healthcheck")
    return import_module(f"exporter.tools.{name}" if in_a_file else f"exporter.tools.{name}.command")


def _add_tool_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    tool = _tool(name)
    tool.add_arguments(parser)
    parser.set_defaults(command=tool.main)


def _add_configuration_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the configuration: a file, and a flag for each key with a single value or a list."""
    from exporter.config.loader import expected, keys
    from exporter.config.section import Section

    parser.description = _CONFIGURED[name]
    parser.usage = f"{_PROGRAM} {name}{_USAGE.get(name, '')} [--config.file FILE] [--KEY VALUE ...]"
    parser.add_argument("--config.file", dest="config_file", metavar="FILE", help="YAML; see reference.yml")
    if name == "run":
        _add_run_arguments(parser)
    if name in ("cache", "explain", "healthcheck", "replay", "risk"):
        _tool(name).add_arguments(parser)
    group = parser.add_argument_group("configuration", "every key of the file that has one value or a list")
    for path, kind in keys().items():
        is_single = not (isinstance(kind, type) and issubclass(kind, Section)) and get_origin(kind) is not dict
        if is_single and path not in _WITHOUT_FLAG:
            flag = "--" + path.replace("_", "-")
            allowed = expected(kind).replace("%", "%%")
            flags = [flag, *_OTHER_FLAGS.get(path, ())]
            value: dict[str, Any] = {"nargs": "?", "const": "true"} if kind is bool else {}
            group.add_argument(*flags, dest=path, metavar="VALUE", default=argparse.SUPPRESS, help=allowed, **value)
    parser.set_defaults(command=partial(_start, name))


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--until-caught-up", action="store_true", help="stop at the end that each partition has at the start"
    )
    parser.add_argument("--create-topics", action="store_true", help="create output topics that are missing")


def _start(name: str, args: argparse.Namespace) -> int:
    options = {each: getattr(args, each) for each in _OPTIONS.get(name, ())}
    check = _conflict_check(name)
    if name in ("run", "cache"):
        options["load"] = partial(_config_again, args, check)
    if name == "replay":
        options["load"] = lambda file: _config(argparse.Namespace(**{**vars(args), "config_file": file}), check)
    return int(_tool(name).main(_config(args, check), **options))


def _conflict_check(name: str) -> Callable[[Config], Iterable[Conflict]]:
    """Return the check for conflicts by client libraries, or none for a command that uses no clients."""
    if name == "healthcheck":
        return lambda _: ()
    from exporter import preflight

    return preflight.mistakes_of_cache if name == "cache" else preflight.mistakes


def _config(args: argparse.Namespace, also: Callable[[Config], Iterable[Conflict]]) -> Config:
    from exporter.config.loader import keys

    flags: dict[str, object] = {path: value for path, value in vars(args).items() if path in keys()}
    if getattr(args, "create_topics", False):
        flags["output.create_topics"] = {}
    return load_config(args.config_file, os.environ, flags, also)


def _config_again(args: argparse.Namespace, also: Callable[[Config], Iterable[Conflict]]) -> Config:
    """Return the configuration by the same file and flags; see `load_config`."""
    from exporter.config.layers import Problem
    from exporter.config.loader import ConfigError

    file = args.config_file
    if file is not None and os.path.exists(file) and not os.path.isfile(file):
        # What remains in a pipe is nothing, which would be valid, or is yet to come.
        raise ConfigError((Problem("", f"{file} is no regular file and cannot be read again", "--config.file"),))
    return _config(args, also)


def load_config(
    file: str | None,
    env: Mapping[str, str],
    flags: Mapping[str, object],
    also: Callable[[Config], Iterable[Conflict]] = lambda _: (),
) -> Config:
    """Return the configuration of this process; `also` yields further conflicts. Raise `ConfigError`."""
    from exporter.config.files import read_text
    from exporter.config.layers import Problem
    from exporter.config.loader import ConfigError, load
    from exporter.runtime.foreign_text import add_secrets

    try:
        text = None if file is None else read_text(file)
    except (OSError, ValueError) as error:
        raise ConfigError((Problem("", f"the file cannot be read: {error}", "--config.file"),)) from None
    host = socket.gethostname()
    return load(text, env, flags, hostname=host, read_file=read_text, also=also, on_secrets=add_secrets)
