"""What a new configuration changes of the one in force: at once, or with a restart only. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from exporter.config.layers import joined
from exporter.config.schema import Config
from exporter.config.section import Section


class Changes(NamedTuple):
    """The paths of the keys that differ, and `config`: the new configuration without what needs a restart."""

    config: Config
    at_once: tuple[str, ...]
    with_restart: tuple[str, ...]


def changes(running: Config, wanted: Config) -> Changes:
    """Return what differs between the configuration in force and a new one."""
    found = _Comparison()
    config: Config = found.merged(running, wanted, "")
    return Changes(config, tuple(found.at_once), tuple(found.with_restart))


class _Comparison:
    def __init__(self) -> None:
        self.at_once: list[str] = []
        self.with_restart: list[str] = []

    def merged(self, running: Section, wanted: Section, path: str) -> Any:
        """Return the section with those of the new values that need no restart."""
        values: dict[str, Any] = {}
        for name in running.__struct_fields__:
            old, new, inner = getattr(running, name), getattr(wanted, name), joined(path, name)
            values[name] = new
            if name in running.needs_restart:
                values[name] = old
                self.with_restart += _differing(old, new, inner)
            elif isinstance(old, Section) and isinstance(new, Section):
                values[name] = self.merged(old, new, inner)
            elif old != new:
                self.at_once.append(inner)
        return type(running)(**values)


def _differing(old: Any, new: Any, path: str) -> Iterator[str]:
    """Yield the paths below a path at which two values differ; entries of a list have no paths of their own."""
    if isinstance(old, Section) and isinstance(new, Section):
        old, new = ({name: getattr(one, name) for name in one.__struct_fields__} for one in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _differing(old.get(name), new.get(name), joined(path, name))
    elif old != new:
        yield path
