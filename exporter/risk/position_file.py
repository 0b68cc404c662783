"""Portfolios from a YAML file, read again when it changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from exporter.config.files import read_text
from exporter.risk.portfolios import AMOUNT_MAX, Portfolio

NAME_MAX = 64


class PositionsError(Exception):
    """Portfolios cannot be read; those that were read before stay in force."""


class PortfolioEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A portfolio in the file."""

    positions: dict[str, float] = {}
    cash: float = 0.0
    volumes: dict[str, float] = {}


class PositionsEntry(msgspec.Struct, forbid_unknown_fields=True):
    """The content of the file."""

    portfolios: dict[str, PortfolioEntry]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # one of two, neither of which is typed
    """A reader that refuses what YAML's own passes over: of two positions of one symbol, only the last would count."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
                seen.add(key.value)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def parse(text: str) -> list[Portfolio]:
    """Return the portfolios of a YAML text; raise `PositionsError` with what is wrong and where."""
    try:
        # The loader makes plain values only, as yaml.safe_load does.
        found = msgspec.convert(yaml.load(text, Loader=_Loader), PositionsEntry)  # noqa: S506
    except (msgspec.MsgspecError, yaml.YAMLError, RecursionError) as error:
        raise PositionsError(" ".join(str(error).split())) from error
    return [_portfolio(name, entry) for name, entry in found.portfolios.items()]


def _portfolio(name: str, entry: PortfolioEntry) -> Portfolio:
    if not 0 < len(name) <= NAME_MAX or not name.isprintable():
        raise PositionsError(f"the name of a portfolio has 1 to {NAME_MAX} printable characters")
    _check(name, "positions", entry.positions)
    _check(name, "cash", {"": entry.cash})
    _check(name, "volumes", entry.volumes, least=0.0)
    return Portfolio(name, entry.positions, entry.cash, entry.volumes)


def _check(name: str, key: str, numbers: Mapping[str, float], least: float = -AMOUNT_MAX) -> None:
    for symbol, number in numbers.items():
        if not least <= number <= AMOUNT_MAX:
            where = f"`$.portfolios.{name}.{key}{'.' * bool(symbol)}{symbol}`"
            raise PositionsError(f"Expected a number from {least:g} to {AMOUNT_MAX:g} - at {where}")


class PositionFile:
    """The file of portfolios."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None

    def read(self) -> list[Portfolio] | None:
        """Return the portfolios if the file has changed, None if not; raise `PositionsError` when it cannot be read."""
        try:
            found = Path(self._path).stat()
            stamp = found.st_mtime_ns, found.st_size, found.st_ino
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            return parse(read_text(self._path))
        except (OSError, ValueError, PositionsError) as error:
            self._stamp = None
            raise PositionsError(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Do nothing: no file is left open."""
