"""Describes what a value that is not JSON looks like, and quotes a place in it. Pure."""

from __future__ import annotations

import re

from exporter.decoding.binary import EXAMINED_BYTES, binary_format
from exporter.decoding.encodings import UNKNOWN, encoding
from exporter.decoding.literals import BOM
from exporter.runtime.foreign_text import masked_part

# How far from a quoted part a secret may begin or end of which a part would be quoted.
_MARGIN = 256
# How many bytes are examined for their encoding.
_ENCODED = 512
_PLAIN = "plain text"
_TEXTS = {
    re.compile(rb"<(?:!doctype html|html|head|body)", re.IGNORECASE): "HTML",
    re.compile(rb"<[?!\w]"): "XML",
    re.compile(rb"[\[{]\s*'"): "Python's repr, with single quotes",
    re.compile(rb'"\s*[\[{]\s*\\"'): "JSON inside of a JSON text, encoded twice",
    re.compile(rb"(?:eyJ|W3s|ew[0o])[\w+/-]{8,}"): "JSON in base64",
    re.compile(rb"\w+=[^&\s]*&\w+="): "a URL-encoded form",
    re.compile(rb"---\s"): "YAML",
    re.compile(rb"[\[{]"): "",
    re.compile(rb"."): _PLAIN,
}


def around(value: bytes, position: int, size: int) -> str:
    """Return `size` bytes around a place as printable ASCII, with all other bytes escaped and secrets masked.

    Secrets are masked here, where the bytes beyond the cut are known.
    """
    start = max(0, min(position - size // 2, len(value) - size))
    end = start + size
    ahead, quoted, behind = map(
        _escaped, (value[max(0, start - _MARGIN) : start], value[start:end], value[end : end + _MARGIN])
    )
    return masked_part(ahead + quoted + behind, len(ahead), len(ahead) + len(quoted))


def _escaped(value: bytes) -> str:
    return value.decode("latin-1").encode("unicode_escape").decode("ascii")


def looks_like(value: bytes, position: int) -> str:
    """Return what a value looks like that is not JSON at the byte `position`; empty when it looks like JSON."""
    value = value.removeprefix(BOM)
    if name := binary_format(value):
        return name
    text = value[:EXAMINED_BYTES].lstrip()
    name = next((name for pattern, name in _TEXTS.items() if pattern.match(text)), "blanks only")
    foreign = encoding(_part(value, position))
    if not foreign:
        return name
    if foreign == UNKNOWN and name == _PLAIN:
        return "binary data"
    return f"{name or 'JSON'} in {foreign}"


def _part(value: bytes, position: int) -> bytes:
    """Return the bytes around a place, from the start of a character: a quote, or the place itself."""
    start = value.rfind(b'"', max(0, position - _ENCODED // 2), position)
    start = position if start < 0 and position > _ENCODED // 2 else max(0, start)
    return value[start : start + _ENCODED]
