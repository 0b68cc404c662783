"""Texts in columns, and durations, as the commands print them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from unicodedata import east_asian_width

NONE = "-"
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"))

Line = tuple[str, ...]


def table(lines: Sequence[Line]) -> Iterator[str]:
    """Yield the lines with their columns aligned; the last column is as wide as it needs."""
    widths = [max(map(width_of, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell + " " * (width - width_of(cell)) for cell, width in zip(line, widths, strict=True)]
        yield "  ".join(cells).rstrip()


def width_of(text: str) -> int:
    """Return the columns of a terminal that a text takes: two for most characters of East Asia."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def duration(milliseconds: int | None) -> str:
    """Return a duration in its two largest units."""
    if milliseconds is None:
        return NONE
    seconds = milliseconds // 1000
    for size, unit in _UNITS:
        if seconds >= size:
            smaller = {"d": (3600, "h"), "h": (60, "m"), "m": (1, "s")}[unit]
            return f"{seconds // size}{unit} {seconds % size // smaller[0]}{smaller[1]}"
    return f"{milliseconds / 1000:.1f}s"


def fitted(lines: Sequence[str], columns: int, rows: int) -> list[str]:
    """Return the first lines that a terminal shows above its last row, and how many are left out; long ones wrap."""
    taken = 0
    for number, line in enumerate(lines):
        taken += max(1, -(-width_of(line) // columns))
        if taken > rows - (1 if number + 1 == len(lines) else 2):
            return [*lines[:number], f"and {len(lines) - number} more lines"]
    return list(lines)
