"""A report as one HTML file, which needs nothing from elsewhere. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from itertools import count, groupby

from exporter.loadtest.reports.document import (
    Block,
    Bullets,
    Cell,
    Chart,
    Document,
    Section,
    Table,
    Text,
    Tile,
    Tone,
)
from exporter.loadtest.reports.svg import legend, svg

# The shape of a tone: some readers do not see its colour.
_SHAPES = {Tone.GOOD: "✓", Tone.BAD: "✗", Tone.OPEN: "?"}
# The space before a unit, where no line may break.
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:ms|s)\b)")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(document: Document) -> str:
    """Return the file."""
    style = files("exporter.loadtest.reports").joinpath("report.css").read_text("utf-8")
    numbers = count(1)
    body = [
        "<header>",
        f"<h1>{escape(document.title)}</h1>",
        f'<p class="verdict {document.tone}">{_shape(document.tone)}{escape(document.verdict)}</p>',
        f'<p class="summary">{escape(document.summary)}</p>',
        _facts(document.facts),
        "</header>",
        _contents(document.sections),
        f"<main>{_tiles(document.tiles)}",
        *(_section(section, number, numbers) for number, section in enumerate(document.sections, start=1)),
        "</main>",
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(document.title)}</title><style>{style}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return f'<dl class="facts">{"".join(f"<div><dt>{escape(n)}</dt><dd>{escape(v)}</dd></div>" for n, v in facts)}</dl>'


def _contents(sections: Sequence[Section]) -> str:
    items = [f'<li><a href="#s{n}">{escape(section.title)}</a></li>' for n, section in enumerate(sections, start=1)]
    return f'<nav aria-label="Contents"><ul>{"".join(items)}</ul></nav>'


def _tiles(tiles: Sequence[Tile]) -> str:
    groups = ((name, list(group)) for name, group in groupby(tiles, key=lambda tile: tile.group))
    return "".join(_tile_group(name, group) for name, group in groups)


def _tile_group(name: str, tiles: Sequence[Tile]) -> str:
    return f'<h2 class="group">{escape(name)}</h2><ul class="tiles">{"".join(map(_tile, tiles))}</ul>'


def _tile(tile: Tile) -> str:
    text = escape(_BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", tile.text))
    return (
        f'<li class="{tile.tone}"><span class="name">{escape(tile.name)}</span>'
        f'<strong>{_shape(tile.tone)}{escape(tile.value)}</strong><span class="text">{text}</span></li>'
    )


def _section(section: Section, number: int, numbers: Iterator[int]) -> str:
    groups = groupby(section.blocks, key=lambda block: isinstance(block, Chart))
    blocks = "".join(_group(list(group), is_charts, numbers) for is_charts, group in groups)
    return f'<section id="s{number}"><h2>{escape(section.title)}</h2>{blocks}</section>'


def _group(blocks: Sequence[Block], is_charts: bool, numbers: Iterator[int]) -> str:
    shown = "".join(_block(block, numbers) for block in blocks)
    return f'<div class="charts">{shown}</div>' if is_charts else shown


def _block(block: Block, numbers: Iterator[int]) -> str:
    match block:
        case Text():
            return f'<p class="{block.tone}">{_shape(block.tone)}{escape(block.text)}</p>'
        case Bullets():
            return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in block.lines)}</ul>"
        case Table():
            return _table(block)
        case Chart():
            return _chart(block, f"c{next(numbers)}")


def _chart(chart: Chart, identifier: str) -> str:
    return (
        f"<figure><h3>{escape(chart.title)}</h3><p>{escape(chart.text)}</p>{legend(chart)}"
        f"{svg(chart, identifier)}</figure>"
    )


def _table(table: Table) -> str:
    columns = zip(table.columns, table.rows[0] if table.rows else [], strict=False)
    head = "".join(f'<th scope="col"{_right(cell)}>{escape(name)}</th>' for name, cell in columns)
    rows = "".join(_row(row) for row in table.rows)
    # Wide tables scroll by themselves, with the keyboard too.
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{escape(table.caption)}">'
        f"<table><caption>{escape(table.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(row: Sequence[Cell]) -> str:
    first, *rest = row
    cells = "".join(
        f'<td class="{cell.tone}"{_right(cell)}>{_shape(cell.tone)}{escape(cell.text)}</td>' for cell in rest
    )
    return f'<tr><th scope="row">{escape(first.text)}</th>{cells}</tr>'


def _right(cell: Cell) -> str:
    return " data-number" if cell.is_number else ""


def _shape(tone: Tone) -> str:
    shape = _SHAPES.get(tone)
    return "" if shape is None else f'<span class="shape" aria-hidden="true">{shape}</span>'
