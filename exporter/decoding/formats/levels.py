"""The sides of order books as lists of levels, `[[price, size], …]`, whatever shape collectors give them. Pure.

Only the first level is looked at, so of other shapes no more is kept: objects from price to size, lists of objects
with a price and a size, and a best price alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from exporter.decoding.batch import NO_JSON

_VALUE = rb'("[^"\\]*"|[^\s,"\[\]{}]+)'
# No side at all, or one that needs nothing done.
_USUAL = rb"\[\s*[\[\]]|null|\Z"
is_usual = re.compile(rb"\s*(?:%b)" % _USUAL).match
# All shapes but one in one pattern, distinguished by the last of its groups: separate patterns take twice as long.
_SIZES, _NO_SIZES, _ALONE = 3, 4, 5
_SHAPE = re.compile(rb'\s*(?:(%b)|\{\s*("[^"\\]*")\s*:\s*%b\s*[,}]|(\{\s*\})|%b\s*\Z)' % (_USUAL, _VALUE, _VALUE))
_SIZE_NAMES = ("qty", "size", "amount", "quantity", "volume")
_OBJECTS = re.compile(
    rb'\s*\[\s*\{(?=[^{}]*?"price"\s*:\s*%b)(?=[^{}]*?"(?:%b)"\s*:\s*%b)'
    % (_VALUE, "|".join(_SIZE_NAMES).encode(), _VALUE)
)


def from_json(side: Raw) -> Raw:
    """Return the side as a list of levels; one of another shape as it is."""
    found = _SHAPE.match(side)
    if found is None:
        found = _OBJECTS.match(side)
        return side if found is None else Raw(b"[[%b,%b]]" % found.groups())
    shape = found.lastindex
    if shape == _SIZES:
        return Raw(b"[[%b,%b]]" % found.group(2, 3))
    if shape == _ALONE:
        return Raw(b"[[%b,1]]" % found[5])
    return Raw(b"[]") if shape == _NO_SIZES else side


def from_object(side: object) -> Raw:
    """Return the side as JSON, as `from_json` does."""
    if side is NO_JSON:
        return NO_JSON
    if isinstance(side, Mapping):
        side = [[str(price), size] for price, size in list(side.items())[:1]]
    elif isinstance(side, list | tuple):
        side = [_level(level) for level in side[:1]]
    elif side is not None:
        side = [[side, 1]]
    return as_json(side)


def as_json(value: Any) -> Raw:
    """Return any object as JSON; what JSON has no words for is null."""
    try:
        return Raw(msgspec.json.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return Raw(b"null")


def _level(level: Any) -> Any:
    if not isinstance(level, Mapping):
        return level
    sizes = [level[name] for name in _SIZE_NAMES if name in level]
    return [level["price"], sizes[0]] if "price" in level and sizes else level
