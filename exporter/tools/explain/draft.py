"""A format to begin with, for a record that no known format reads: from the names and values of its fields. Pure.

What no field is known to have stands in it as a word in capitals, to be replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from exporter.config.format_text import json_path
from exporter.decoding.numbers import lacks_offset, number, time_ms

_DEPTH = 4
_FIELDS = 200
_SYMBOL = (
    "symbol",
    "sym",
    "instrument_id",
    "instid",
    "product_id",
    "instrument",
    "pair",
    "market",
    "code",
    "ticker",
    "s",
)
_EXCHANGE = ("exchange", "exch", "venue", "src", "source")
_KIND = ("request_type", "kind", "type", "channel", "event", "e")
_PRICES = {
    "last": ("last", "last_price", "lastprice", "close", "c"),
    "high": ("high", "high_price"),
    "low": ("low", "low_price"),
    "price": ("price", "trade_price", "px", "p"),
}
_SIDES = {"asks": ("asks", "ask", "best_ask"), "bids": ("bids", "bid", "best_bid")}
_TIME = re.compile(r"time|date|stamp|(?:^|_)ts(?:_|$)|(?:^|_)at$|created|^t$")
_WORD = re.compile(r"[\w.-]{1,64}", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
# Words that YAML takes for something else than text.
_NO_TEXT = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
# From 2010 to 2100.
_FIRST, _LAST = 1_262_304_000, 4_102_444_800
_UNITS = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}


class _Shape(NamedTuple):
    """The first row of a record, the fields beside the rows, and the keys of a format that lead to the row."""

    row: Mapping[str, object]
    outer: Mapping[str, object]
    keys: dict[str, object]


def draft(content: object, topic: str, encoding: str = "json") -> str | None:
    """Return a configuration for a record with that content, as YAML; None for one without fields.

    `topic` is as the configuration has it.
    """
    shape = _shape(content)
    if shape is None:
        return None
    keys: dict[str, object] = {} if encoding == "json" else {"encoding": encoding}
    keys |= shape.keys
    row = _row(shape.row)
    keys["feed"] = _feed(shape.outer, row)
    if shape.outer is not shape.row and (time := _time(shape.outer)):
        keys["time"] = time
    lines = [f"          {name}: {_yaml(value)}" for name, value in (keys | {"row": row}).items()]
    head = ["    input:", f"      topics: [{topic}]  # beside others", "      formats:", f"        - topics: {topic}"]
    return "\n".join([*head, *lines])


def _shape(content: object) -> _Shape | None:
    if isinstance(content, list) and content:
        if isinstance(content[0], dict | list) and content[0]:
            row, keys = _named(content[0])
            return _Shape(row, {}, {"rows": "[]"} | keys)
        row, keys = _named(content)
        return _Shape(row, row, keys)
    if not isinstance(content, dict) or not content:
        return None
    outer = _fields(content)
    for path, value in outer.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            row = _fields(value[0])
            if _named_one(row, _SYMBOL):
                return _Shape(row, {name: one for name, one in outer.items() if name != path}, {"rows": path})
    return _Shape(outer, outer, {})


def _named(row: object) -> tuple[Mapping[str, object], dict[str, object]]:
    """Return the fields of a row, and the names of its positions, which a format cannot look into, if it has any."""
    if isinstance(row, dict):
        return _fields(row), {}
    values = row if isinstance(row, list) else []
    names: list[str] = []
    for place, value in enumerate(values[:_FIELDS]):
        kind = _position(value)
        names.append(f"x{place}" if kind is None or kind in names else kind)
    if "symbol" not in names:
        names.append("SYMBOL")
    return dict(zip(names, values, strict=False)), {"array": names}


def _position(value: object) -> str | None:
    if _unit(value):
        return "time"
    if _is_number(value):
        return "price"
    return "symbol" if isinstance(value, str) and value else None


def _fields(row: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of an object by their paths: those that a format can name, sides of order books as a whole."""
    found: dict[str, object] = {}
    for path, value in _walk(row, "", _DEPTH):
        if len(found) == _FIELDS:
            break
        try:
            found[json_path(path)] = value
        except ValueError:
            continue
    return found


def _walk(row: Mapping[Any, object], path: str, depth: int) -> Iterator[tuple[str, object]]:
    sides = {name for names in _SIDES.values() for name in names}
    for name, value in row.items():
        if not isinstance(name, str) or "." in name:  # MessagePack has other names, too
            continue
        inner = f"{path}.{name}" if path else name
        if depth and isinstance(value, dict) and value and name.lower() not in sides:
            yield from _walk(value, inner, depth - 1)
        else:
            yield inner, value


def _row(fields: Mapping[str, object]) -> dict[str, object]:
    row: dict[str, object] = {"symbol": _named_one(fields, _SYMBOL) or "SYMBOL"}
    if time := _time(fields):
        row["timestamp"] = time
    numbers = {path: value for path, value in fields.items() if _is_number(value) and not _unit(value)}
    sides = numbers | {path: value for path, value in fields.items() if isinstance(value, list | dict)}
    for known, those in ((_PRICES, numbers), (_SIDES, sides)):
        row |= {key: found for key, names in known.items() if (found := _first(those, names))}
    return row


def _feed(outer: Mapping[str, object], row: Mapping[str, object]) -> dict[str, object]:
    kind = "orderbook" if "asks" in row and "bids" in row else "trade" if "price" in row else "ticker"
    region, exchange, request_type = (_named_one(outer, names) for names in (("region",), _EXCHANGE, _KIND))
    return {
        "region": {"field": region} if region else "global",
        "exchange": {"field": exchange} if exchange else "EXCHANGE",
        "request_type": {"field": request_type} if request_type else kind,
    }


def _named_one(fields: Mapping[str, object], names: tuple[str, ...]) -> str | None:
    """Return the field with a word that has one of some names."""
    words = {path: value for path, value in fields.items() if isinstance(value, str) and _WORD.fullmatch(value)}
    if names is _SYMBOL:
        words = {path: value for path, value in fields.items() if isinstance(value, str) and value}
    return _first(words, names)


def _first(fields: Mapping[str, object], names: tuple[str, ...]) -> str | None:
    """Return the field that has the first of some names; capitals make no difference."""
    by_name: dict[str, str] = {}
    for path in fields:
        by_name.setdefault(path.rpartition(".")[2].lower(), path)
    return next((by_name[name] for name in names if name in by_name), None)


def _time(fields: Mapping[str, object]) -> dict[str, object] | None:
    for path, value in fields.items():
        if _TIME.search(path.rpartition(".")[2].lower()) and (unit := _unit(value)):
            return {"field": path} | unit
    return None


def _unit(value: object) -> dict[str, object] | None:
    """Return the unit of a value that is a time, as the keys of a format; None for others."""
    if isinstance(value, str):
        if lacks_offset(value):
            return {"unit": "iso8601", "zone": "UTC"}
        if _is_time(value):
            return {"unit": "iso8601"}
    if not _is_number(value):
        return None
    found = number(value) or 0
    unit = next((name for name, of in _UNITS.items() if _FIRST * of <= found < _LAST * of), None)
    return None if unit is None else {"unit": unit}


def _is_time(text: str) -> bool:
    try:
        return time_ms(text) is not None
    except (ValueError, OverflowError):
        return False


def _is_number(value: object) -> bool:
    try:
        return number(value) is not None
    except (ValueError, OverflowError):
        return False


def _yaml(value: object) -> str:
    """Return a value in YAML, on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_yaml(inner)}' for name, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    text = str(value)
    is_plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _NO_TEXT
    return text if is_plain else json.dumps(text, ensure_ascii=False)
