"""Portfolios from the records of a compacted topic: the key is a symbol, the value what portfolios hold of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from exporter.decoding.formats.avro import confluent, schema_id, single_object
from exporter.events.values import load_schema
from exporter.model import Reason, RegistryError, Rejected
from exporter.risk.portfolios import AMOUNT_MAX, Portfolio
from exporter.risk.position_file import NAME_MAX, PositionsError

CASH = "$cash"
KEYS_MAX = 100_000
# A position of this portfolio needs no name: {"quantity": 0.5}.
MAIN = "main"


class PositionRecords:
    """The last valid record of each symbol, and the error of each whose last record is invalid.

    `find` returns the schema of an id of a schema registry, or raises `Rejected`, or `RegistryError` without an answer:
    such a record is read again by `retry`.
    """

    def __init__(self, find: Callable[[int], Any] | None = None) -> None:
        self._entries: dict[str, tuple[dict[str, float], float | None]] = {}
        self._errors: dict[str, str] = {}
        self._unread: dict[bytes | None, bytes] = {}
        self._single_object = single_object([json.dumps(load_schema("risk_position"))])
        self._confluent = None if find is None else confluent(find)

    def add(self, key: bytes | None, value: bytes | None) -> None:
        """Take a record into account; a value of None removes the symbol."""
        symbol = (key or b"").decode(errors="replace")
        self._errors.pop(symbol, None)
        self._unread.pop(key, None)
        if value is None:
            self._entries.pop(symbol, None)
            return
        try:
            if not symbol:
                raise PositionsError("it has no key")
            if symbol not in self._entries and len(self._entries) >= KEYS_MAX:
                raise PositionsError(f"there are more than {KEYS_MAX} symbols")
            self._entries[symbol] = _entry(self._decoded(value))
        except RegistryError as error:
            self._errors[symbol], self._unread[key] = str(error), value
        except (Rejected, PositionsError) as error:
            self._errors[symbol] = error.detail if isinstance(error, Rejected) else str(error)

    def retry(self) -> bool:
        """Read records again whose schemas had no answer, until one has none again; return whether any was read."""
        waiting = list(self._unread.items())
        for number, (key, value) in enumerate(waiting):
            self.add(key, value)
            if key in self._unread:
                return number > 0
        return bool(waiting)

    def portfolios(self) -> list[Portfolio]:
        """Return the portfolios; raise `PositionsError` while the last record of a symbol is invalid."""
        if self._errors:
            symbol, error = min(self._errors.items())
            raise PositionsError(f"the record of {symbol!r} is invalid: {error}")
        cash, _ = self._entries.get(CASH, ({}, None))
        held: dict[str, dict[str, float]] = {name: {} for name in cash}
        volumes: dict[str, float] = {}
        for symbol, (quantities, volume) in self._entries.items():
            if symbol == CASH:
                continue
            if volume is not None:
                volumes[symbol] = volume
            for name, quantity in quantities.items():
                held.setdefault(name, {})[symbol] = quantity
        return [
            Portfolio(
                name, quantities, cash.get(name, 0.0), {each: volumes[each] for each in quantities if each in volumes}
            )
            for name, quantities in sorted(held.items())
        ]

    def _decoded(self, value: bytes) -> Any:
        if value.startswith(b"\xc3\x01"):
            return self._single_object(value)
        if schema_id(value) is not None and self._confluent is not None:
            return self._confluent(value)
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise Rejected(Reason.INVALID_JSON, str(error)) from None


def _entry(value: Any) -> tuple[dict[str, float], float | None]:
    """Return quantities by portfolio, and the volume; raise `PositionsError`."""
    if not isinstance(value, Mapping):
        raise PositionsError("it is no object")
    quantities = value.get("quantities")
    if quantities is None:
        quantities = {value.get("portfolio") or MAIN: value.get("quantity")}
    if not isinstance(quantities, Mapping):
        raise PositionsError("quantities is no object")
    volume = value.get("volume")
    if volume is not None and not (_is_number(volume) and volume >= 0):
        raise PositionsError(f"volume is no number from 0 to {AMOUNT_MAX:g}")
    for name, quantity in quantities.items():
        if not isinstance(name, str) or not 0 < len(name) <= NAME_MAX or not name.isprintable():
            raise PositionsError(f"the name of a portfolio has 1 to {NAME_MAX} printable characters")
        if not _is_number(quantity):
            raise PositionsError(f"the quantity of {name} is no number from {-AMOUNT_MAX:g} to {AMOUNT_MAX:g}")
    return {name: float(quantity) for name, quantity in quantities.items()}, volume


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -AMOUNT_MAX <= value <= AMOUNT_MAX
