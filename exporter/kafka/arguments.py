"""The arguments of the Python API as a `Config`, with the keys, rules and messages of YAML."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Mapping

from exporter.config.conflicts import Conflict
from exporter.config.files import read_text
from exporter.config.loader import ConfigError, load, secrets
from exporter.config.schema import Config
from exporter.runtime.foreign_text import add_secrets


def configure(
    arguments: Mapping[str, object],
    config: Mapping[str, object] | None,
    also: Callable[[Config], Iterable[Conflict]] = lambda _: (),
) -> Config:
    """Return the configuration from arguments by dotted path, None for the default, overridden by `config`.

    `config` has the keys of the YAML file, nested or dotted. Environment variables are not read, so that a program can
    use several configurations. `also` yields further conflicts. Raises ConfigError.
    """
    given = {path: _literal(path, value) for path, value in arguments.items() if value is not None}
    flags = {**given, **(config or {})}
    host = socket.gethostname()
    try:
        return load(None, {}, flags, hostname=host, read_file=read_text, also=also, on_secrets=add_secrets)
    except ConfigError as error:  # its places are those of flags
        raise ConfigError(tuple(each._replace(place="") for each in error.problems)) from None


def _literal(path: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    # A password never contains references; other text is quoted as in JSON, which YAML reads as text.
    return value.replace("${", "$${") if path in secrets() else json.dumps(value)
