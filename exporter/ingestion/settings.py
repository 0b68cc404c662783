"""The settings of clients of a program's own, as a `Config`."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from exporter.config.layers import Problem
from exporter.config.loader import ConfigError
from exporter.config.schema import Config
from exporter.kafka.arguments import configure
from exporter.kafka.properties import mistakes

SERVERS = "localhost:9092"
DEAD_LETTER = ".dead_letter"


def settings(
    arguments: Mapping[str, object], config: Mapping[str, object] | None, timeout_seconds: float | None = None
) -> Config:
    """Return the configuration from arguments by dotted path, overridden by `config`; raise `ConfigError`.

    `timeout_seconds` is how long an event may take to be delivered.
    """
    given = dict(arguments)
    if timeout_seconds is not None:
        if not 0.1 <= timeout_seconds <= 86_400:
            raise ConfigError((Problem("timeout_seconds", f"got {timeout_seconds}, expected 0.1 to 86400"),))
        given["kafka.producer_properties"] = {"message.timeout.ms": str(round(timeout_seconds * 1000))}
    # Neither sending nor handling is part of a transaction, whatever the configuration of a sidecar sets.
    return configure(given, {**(config or {}), "output.delivery": "at_least_once"}, mistakes)


def settings_of_group(config: Config, group: str) -> Config:
    """Return the configuration of a command for a consumer of events, a member of a group."""
    return replace(
        config,
        input=replace(config.input, group=group),
        output=replace(config.output, delivery="at_least_once"),
    )
