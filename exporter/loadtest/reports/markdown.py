"""A report as Markdown, whose charts are the picture beside it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from exporter.loadtest.reports.document import Block, Bullets, Cell, Document, Section, Table, Text, Tone

_SHAPES = {Tone.GOOD: "✓ ", Tone.BAD: "✗ ", Tone.OPEN: "? ", Tone.PLAIN: ""}
_MEANINGFUL = re.compile(r"[\\`*_{}\[\]#|~!$]")
# What would become HTML, a name of a user, or a link.
_FOREIGN = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("@", "&#64;"), ("://", "&#58;//"), ("www.", "www&#46;"))
# A list, or a line that makes a heading of the one before.
_BEGINS = re.compile(r"^(\d*)([-+.)](?=\s)|[-=+](?=[-=+\s]*$))")


def markdown(document: Document, picture: str | None) -> str:
    """Return the text; `picture` is the name of the file with the charts, None if there is none."""
    tiles = [
        (Cell(f"{tile.group}: {tile.name}"), Cell(tile.value, tile.tone, is_number=True), Cell(tile.text))
        for tile in document.tiles
    ]
    parts = [
        f"# {escaped(document.title)}",
        f"**{_SHAPES[document.tone]}{escaped(document.verdict)}**",
        escaped(document.summary),
        "\n".join(f"- {escaped(name)}: {escaped(value)}" for name, value in document.facts),
        _table(("", "", ""), tiles),
        f"![Charts of the load test]({picture})" if picture else "",
        *(part for section in document.sections for part in _section(section)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """Return a text on one line that Markdown shows as it is."""
    line = _MEANINGFUL.sub(r"\\\g<0>", " ".join(text.split()))
    for foreign, entity in _FOREIGN:
        line = line.replace(foreign, entity)
    return _BEGINS.sub(r"\1\\\2", line)


def _section(section: Section) -> Iterator[str]:
    parts = [part for block in section.blocks for part in _block(block)]
    if parts:
        yield f"## {escaped(section.title)}"
        yield from parts


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text():
            yield _SHAPES[block.tone] + escaped(block.text)
        case Bullets():
            yield "\n".join(f"- {escaped(line)}" for line in block.lines)
        case Table():
            yield escaped(block.caption)
            yield _table(block.columns, block.rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    if not rows:
        return ""
    sides = "|".join("---:" if cell.is_number else "---" for cell in rows[0])
    lines = [_line(map(escaped, columns)), f"|{sides}|"]
    return "\n".join([*lines, *(_line(_SHAPES[cell.tone] + escaped(cell.text) for cell in row) for row in rows)])


def _line(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"
