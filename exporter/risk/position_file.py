"""Portfolios from a YAML file, read again when it changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from exporter.config.files import read_text
from exporter.risk.portfolios import Portfolio

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


def parse(text: str) -> list[Portfolio]:
    """Return the portfolios of a YAML text; raise `PositionsError` with what is wrong and where."""
    try:
        found = msgspec.yaml.decode(text, type=PositionsEntry)
    except msgspec.MsgspecError as error:
        raise PositionsError(" ".join(str(error).split())) from error
    return [_portfolio(name, entry) for name, entry in found.portfolios.items()]


def _portfolio(name: str, entry: PortfolioEntry) -> Portfolio:
    if not 0 < len(name) <= NAME_MAX or not name.isprintable():
        raise PositionsError(f"the name of a portfolio has 1 to {NAME_MAX} printable characters")
    _check(name, "positions", entry.positions)
    _check(name, "cash", {"": entry.cash})
    _check(name, "volumes", entry.volumes, least=0.0)
    return Portfolio(name, entry.positions, entry.cash, entry.volumes)


def _check(name: str, key: str, numbers: Mapping[str, float], least: float = -1e300) -> None:
    for symbol, number in numbers.items():
        if not least <= number <= 1e300:
            where = f"`$.portfolios.{name}.{key}{'.' * bool(symbol)}{symbol}`"
            raise PositionsError(f"Expected a finite number{' of at least 0' * (least == 0)} - at {where}")


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
