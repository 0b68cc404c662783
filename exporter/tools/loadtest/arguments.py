"""The command line of `loadtest`, and the settings that it means."""

from __future__ import annotations

import argparse
import math
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from exporter.config import parsers
from exporter.config.addresses import authority, host_and_port, is_every_interface
from exporter.config.files import read_text
from exporter.config.layers import Problem
from exporter.config.loader import ConfigError, load
from exporter.config.schema import Config
from exporter.kafka.properties import mistakes
from exporter.loadtest.settings import PROFILES, STRESS, TARGETS, Limits, Settings
from exporter.loadtest.target import TargetError
from exporter.runtime.foreign_text import add_secrets
from exporter.tools.loadtest.unused import unused

_PERCENT_MAX = 100.0
DESCRIPTION = """Load brokers, a sidecar and its Redis, and measure what becomes of each message and request; write a
report. Exit 0 when all target figures are met, 1 when one is missed or a part fails, 2 when something could not be
measured. It writes to a topic and to keys of its own, which it deletes at the end."""

_DEFAULT_URL = "http://localhost:8000"
_PORT_MAX = 65_535
# Keys of the configuration that have options of other names here.
_OPTIONS = {"kafka.bootstrap_servers": "bootstrap_servers", "output.topic": "event_topic", "redis.url": "redis_url"}
_LIMITS = {
    "max-mean": ("mean_ms", "MS", "mean latency in milliseconds"),
    "max-p95": ("p95_ms", "MS", "latency in milliseconds that 95 %% are below"),
    "min-rate": ("per_second", "N", "requests a second, all targets together; at least 95 %% of those that are due"),
    "max-errors": ("errors_percent", "PERCENT", "errors"),
    "min-availability": ("availability_percent", "PERCENT", "seconds with answers"),
    "max-lost": ("lost", "N", "messages that are lost, or without an event"),
}


class Plan(NamedTuple):
    """What a command line means: settings, the configuration of the sidecar, and targets left out with the reason."""

    settings: Settings
    config: Config
    left_out: Mapping[str, str]


def add(parser: argparse.ArgumentParser) -> None:
    """Add the description and the options to a parser."""
    parser.description = DESCRIPTION
    texts = (f"{name} ({one.text}; {one.users} users, {one.seconds:g} s)" for name, one in PROFILES.items())
    parser.add_argument(
        "profile", nargs="?", default="smoke", choices=PROFILES, metavar="PROFILE", help=", ".join(texts)
    )
    _add_targets(parser.add_argument_group("what is loaded"))
    _add_numbers(parser.add_argument_group("how much"))
    _add_limits(parser.add_argument_group("target figures"))
    _add_outputs(parser.add_argument_group("outputs"))


def _add_targets(group: Any) -> None:
    add = group.add_argument
    add("--target", action="append", choices=("all", *TARGETS), help="may be repeated (default: all; of stress: kafka)")
    add("--embedded", action="store_true", help="a broker and a sidecar in this process: needs nothing")
    add(
        "--config.file", dest="config_file", metavar="FILE", help="configuration of the sidecar: its addresses are used"
    )
    add("--bootstrap-servers", metavar="LIST", help="brokers, in place of the configuration's")
    add(
        "--topic",
        metavar="NAME",
        help="topic to write to (default: a new one that the sidecar's default pattern covers)",
    )
    add("--allow-existing", action="store_true", help="write to --topic although it has records")
    add("--event-topic", metavar="NAME", help="topic of events, in place of the configuration's")
    add(
        "--url",
        type=_parsed(parsers.http_url),
        metavar="URL",
        help=f"HTTP address of the sidecar (default: as configured, else {_DEFAULT_URL})",
    )
    add("--redis-url", metavar="URL", help="Redis, in place of the configuration's")


def _add_numbers(group: Any) -> None:
    add = group.add_argument
    add("--users", type=_count, metavar="N", help="of all targets, by weights: http 3, kafka 2, redis 1")
    add("--spawn-rate", type=_positive, metavar="N", help="users that begin each second")
    add("--duration", type=_seconds, metavar="TIME", help="such as 90s or 10m")
    add("--user-rate", type=_positive, default=50.0, metavar="N", help="requests a second and user (default: 50)")
    add(
        "--rate",
        type=_positive,
        metavar="N",
        help="Kafka messages a second; of stress: its first rate (default: users times --user-rate)",
    )
    add("--kafka-messages", type=_count, metavar="N", help="stop when so many are sent")
    add("--kafka-threads", type=_count, default=2, metavar="N", help="threads with a producer each (default: 2)")
    add("--batch-size", type=_count, default=20, metavar="N", help="rows of the batch in a message (default: 20)")
    add("--partitions", type=_count, default=4, metavar="N", help="of a topic that is made (default: 4)")
    add("--step", type=_seconds, default=20.0, metavar="TIME", help="length of each rate of stress (default: 20s)")
    add("--web", action="store_true", help="serve Locust's page meanwhile")
    add("--web-port", type=_port, default=8089, metavar="PORT", help="of that page (default: 8089)")
    add("--processes", type=_count, default=1, metavar="N", help="processes of Locust (default: 1)")


def _add_limits(group: Any) -> None:
    defaults = Limits()
    for flag, (field, unit, text) in _LIMITS.items():
        default = getattr(defaults, field)
        kind = _percent if unit == "PERCENT" else _whole if isinstance(default, int) else _not_negative
        group.add_argument(f"--{flag}", type=kind, metavar=unit, default=default, help=f"{text} (default: {default:g})")


def _add_outputs(group: Any) -> None:
    add = group.add_argument
    add("--report-folder", type=Path, default=Path(), metavar="FOLDER", help="for report and log (default: this one)")
    add("--compare", type=Path, metavar="FILE", help="results of an earlier run (.json) to compare with")
    add(
        "--process",
        action="append",
        type=_process,
        default=[],
        metavar="NAME=PID",
        help="process to watch, such as sidecar=4711; may be repeated",
    )
    add(
        "--metrics-address",
        type=_parsed(parsers.listen_address),
        default="127.0.0.1:8000",
        metavar="ADDRESS",
        help="of the load test's own /metrics; if the port is taken, any (default: %(default)s)",
    )


def plan(args: argparse.Namespace) -> Plan:
    """Return what the arguments mean; raise `ConfigError` and `TargetError`."""
    config = _config(args)
    targets, left_out = _targets(args, config)
    profile = PROFILES[args.profile]
    seconds = args.duration or profile.seconds
    if mistake := unused(args, targets) or _mistake(args, seconds):
        raise TargetError(mistake)
    url, path = _url(args, config, targets)
    settings = Settings(
        profile=args.profile,
        targets=targets,
        users=args.users or profile.users,
        spawn_rate=args.spawn_rate or profile.spawn_rate,
        seconds=seconds,
        limits=Limits(**{field: getattr(args, flag.replace("-", "_")) for flag, (field, _, _) in _LIMITS.items()}),
        user_rate=args.user_rate,
        rate=args.rate,
        kafka_threads=args.kafka_threads,
        messages=args.kafka_messages,
        batch_size=args.batch_size,
        step_seconds=args.step,
        partitions=args.partitions,
        topic=args.topic,
        allow_existing=args.allow_existing,
        url=url,
        metrics_path=path or config.web.telemetry_path,
        client=config.web.client,
        is_embedded=args.embedded,
        web=args.web,
        web_port=args.web_port,
        workers=args.processes,
        processes=dict(args.process),
    )
    return Plan(settings, config, left_out)


def _mistake(args: argparse.Namespace, seconds: float) -> str:
    """Return what of the options contradicts each other, or nothing."""
    if args.profile == STRESS and args.step > seconds:
        return f"a step takes {args.step:g} s (--step) and the whole test {seconds:g} s (--duration)"
    names = Counter(name for name, _ in args.process)
    twice = [name for name, number in names.items() if number > 1]
    return f"--process {twice[0]} is given twice" if twice else ""


def _targets(args: argparse.Namespace, config: Config) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Return the targets in their order, and why others of `all` are left out."""
    default = ["kafka"] if args.profile == STRESS else ["all"]
    asked = set(args.target or default)
    if args.profile == STRESS and (len(asked) > 1 or "all" in asked):
        raise TargetError("stress raises the rate of one target: --target http, kafka or redis")
    targets = [name for name in TARGETS if asked & {"all", name}]
    missing = "there is none: --redis-url" if config.redis.url is None else ""
    reason = "--embedded has no Redis" if args.embedded else missing
    if "redis" not in targets or not reason:
        return tuple(targets), {}
    if "all" not in asked:
        raise TargetError(f"redis: {reason}")
    targets.remove("redis")
    return tuple(targets), {"redis": reason}


def _url(args: argparse.Namespace, config: Config, targets: Iterable[str]) -> tuple[str | None, str]:
    """Return address and path of the sidecar's metrics: given, configured, or the default where HTTP is to be tested.

    The path is empty for the one that is configured.
    """
    if args.url is not None:
        parts = urlsplit(args.url)
        if "@" in parts.netloc:
            raise TargetError("--url has a user: set web.client.username and web.client.password")
        return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    if args.config_file is not None:
        host, port = host_and_port(config.web.listen_address)
        scheme = "http" if config.web.config_file is None else "https"
        local = "localhost" if is_every_interface(host) else host
        return f"{scheme}://{authority(local, port)}", ""
    return (_DEFAULT_URL if "http" in targets else None), ""


def _config(args: argparse.Namespace) -> Config:
    given = {key: value for key, name in _OPTIONS.items() if (value := getattr(args, name)) is not None}
    try:
        text = read_text(args.config_file) if args.config_file else None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError((Problem("", f"the file cannot be read: {error}", "--config.file"),)) from None
    host = socket.gethostname()
    try:
        return load(text, os.environ, given, hostname=host, read_file=read_text, also=mistakes, on_secrets=add_secrets)
    except ConfigError as error:
        flags = {f"--{key}": f"--{name.replace('_', '-')}" for key, name in _OPTIONS.items()}
        named = (each._replace(place=flags.get(each.place, each.place)) for each in error.problems)
        raise ConfigError(tuple(named)) from None


def _parsed(parser: Callable[[str], str]) -> Callable[[str], str]:
    """Return a parser of the configuration as one of an option, whose error has the reason and no value."""

    def parse(text: str) -> str:
        try:
            return parser(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def _checked(text: str, kind: Callable[[str], Any], allows: Callable[[Any], bool], what: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not math.isfinite(value) or not allows(value):
        raise argparse.ArgumentTypeError(f"must be {what}, not {text!r}")
    return value


def _count(text: str) -> int:
    return int(_checked(text, int, lambda value: 1 <= value <= 10_000_000_000, "a whole number from 1 on"))


def _port(text: str) -> int:
    return int(_checked(text, int, lambda value: 1 <= value <= _PORT_MAX, f"a port, 1 to {_PORT_MAX}"))


def _whole(text: str) -> int:
    return int(_checked(text, int, lambda value: value >= 0, "a whole number from 0 on"))


def _positive(text: str) -> float:
    return float(_checked(text, float, lambda value: value > 0, "greater than 0"))


def _not_negative(text: str) -> float:
    return float(_checked(text, float, lambda value: value >= 0, "0 or more"))


def _percent(text: str) -> float:
    return float(_checked(text, float, lambda value: 0 <= value <= _PERCENT_MAX, "from 0 to 100"))


def _seconds(text: str) -> float:
    return float(_checked(text, parsers.duration, lambda value: value > 0, "a time such as 90s or 10m"))


def _process(text: str) -> tuple[str, int]:
    name, separator, number = text.rpartition("=")
    if not name or not separator or not number.isdigit():
        raise argparse.ArgumentTypeError(f"must be NAME=PID, not {text!r}")
    return name, int(number)
