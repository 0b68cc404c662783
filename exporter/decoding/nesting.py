"""How deep a JSON text is nested, told from its brackets alone. Pure."""

from __future__ import annotations

from itertools import accumulate

_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_TO_STEPS = bytes.maketrans(b"[]", b"\x01\xff")
_NOT_MARKS = bytes(set(range(256)) - set(b'[]{}"\\'))


def is_deeper_than(value: bytes, depth: int) -> bool:
    """Return whether the valid JSON text `value` nests arrays and objects deeper than `depth` levels.

    Each bracket is one step up or down; the time does not depend on the depth.
    """
    steps = memoryview(_outside_strings(value).translate(_TO_STEPS)).cast("b")
    return max(accumulate(steps), default=0) > depth


def _outside_strings(value: bytes) -> bytes:
    """Return the brackets of a JSON text that stand outside its strings, all of them square."""
    marks = value.translate(_TO_SQUARE, _NOT_MARKS)
    if b"\\" in marks:  # then some quotes may not end their strings
        marks = value.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_TO_SQUARE, _NOT_MARKS)
    # First the strings without brackets go; of what is left between quotes, every second piece is a string's.
    return b"".join(marks.replace(b'""', b"").split(b'"')[::2])
