"""The settings of clients of a program's own, as a `Config`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from exporter.config.layers import Problem
from exporter.config.loader import ConfigError
from exporter.config.schema import Config
from exporter.kafka.arguments import configure
from exporter.kafka.properties import mistakes

SERVERS = "localhost:9092"
SEND_SECONDS = 10.0
# Leaves room for the name of an event and of its dead letters; a topic has at most 249 characters.
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,200}")
DEAD_LETTER = ".dead_letter"


def settings(
    arguments: Mapping[str, object],
    config: Mapping[str, object] | None,
    prefix: str,
    timeout_seconds: float = SEND_SECONDS,
) -> Config:
    """Return the configuration from arguments by dotted path, overridden by `config`; raise `ConfigError`.

    `prefix` is the text before the names of topics, `timeout_seconds` how long an event may take to be delivered.
    """
    if problems := tuple(_problems(config, prefix, timeout_seconds)):
        raise ConfigError(problems)
    given = {**arguments, "kafka.producer_properties": {"message.timeout.ms": str(round(timeout_seconds * 1000))}}
    # Neither sending nor handling is part of a transaction, whatever the configuration of a sidecar sets.
    return configure(given, {**(config or {}), "output.delivery": "at_least_once"}, mistakes)


def settings_of_group(config: Config, group: str) -> Config:
    """Return the configuration of a command for a consumer of events, a member of a group."""
    return replace(
        config,
        input=replace(config.input, group=group),
        output=replace(config.output, delivery="at_least_once"),
    )


def _problems(config: object, prefix: object, timeout_seconds: object) -> Iterator[Problem]:
    if not isinstance(config, Mapping | None):
        yield Problem("config", f"got {config!r}, expected a mapping of keys, such as kafka.properties")
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        yield Problem("prefix", f"got {prefix!r}, expected letters, digits, '.', '_' and '-', at most 200")
    if not isinstance(timeout_seconds, int | float) or not 0.1 <= timeout_seconds <= 86_400:
        yield Problem("timeout_seconds", f"got {timeout_seconds!r}, expected 0.1 to 86400")
