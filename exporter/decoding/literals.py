"""Replaces extensions of JSON that common writers use: NaN, Infinity, and a byte order mark. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

BOM = b"\xef\xbb\xbf"
# JSON for a number beyond any double, which therefore cannot be decoded in any field.
MARK = b"1e999"

_LITERAL = rb"[NnIi](?<![\w.+][NnIi])(?:(?<=[Nn])a[Nn]|(?<=[Ii])nf(?:inity)?)(?![\w.+-])"
# Strings are skipped whole, an unterminated one to the end. Possessive quantifiers (+) exclude backtracking.
_UP_TO_LITERAL = re.compile(
    rb'((?:[^"NnIi]++|"[^"\\]*+(?:\\.?[^"\\]*+)*+(?:"|\Z)|(?!%b)[NnIi])*+)(%b)' % (_LITERAL, _LITERAL), re.DOTALL
)
_WORDS = (b"aN", b"an", b"nf")


def as_json(value: bytes) -> tuple[bytes, int]:
    """Return the text with a `MARK` in place of each literal, and their number.

    Strings stay unchanged. The time is proportional to the length, whatever the bytes are.
    """
    return _replaced(value, lambda literal: MARK)


def blanked(value: bytes) -> bytes:
    """Return the text with a zero and blanks in place of each literal, so that all positions stay the same."""
    return _replaced(value, lambda literal: b"0".ljust(len(literal)))[0]


def _replaced(value: bytes, replacement: Callable[[bytes], bytes]) -> tuple[bytes, int]:
    if not any(word in value for word in _WORDS):
        return value, 0
    text, end, number = bytearray(), 0, 0
    while found := _UP_TO_LITERAL.match(value, end):
        text += found[1]
        text += replacement(found[2])
        end, number = found.end(), number + 1
    return (bytes(text + value[end:]), number) if number else (value, 0)
