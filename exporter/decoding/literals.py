"""What common writers put into JSON that is none: NaN, Infinity, and a byte order mark before it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

BOM = b"\xef\xbb\xbf"
# JSON for a number that no double holds, and so cannot be read wherever it stands.
MARK = b"1e999"

_LITERAL = rb"[NnIi](?<![\w.+][NnIi])(?:(?<=[Nn])a[Nn]|(?<=[Ii])nf(?:inity)?)(?![\w.+-])"
# Strings are passed over whole, one without an end to the end. Nothing is ever tried again (+), so one pass is all.
_UP_TO_LITERAL = re.compile(
    rb'((?:[^"NnIi]++|"[^"\\]*+(?:\\.?[^"\\]*+)*+(?:"|\Z)|(?!%b)[NnIi])*+)(%b)' % (_LITERAL, _LITERAL), re.DOTALL
)
_WORDS = (b"aN", b"an", b"nf")


def as_json(value: bytes) -> tuple[bytes, int]:
    """Return the text with a `MARK` in place of each literal, and their number.

    What stands inside of strings is text and stays. The cost is proportional to the length, whatever the bytes are.
    """
    return _replaced(value, lambda literal: MARK)


def blanked(value: bytes) -> bytes:
    """Return the text with a zero and blanks in place of each literal, so that other places stay what they are."""
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
