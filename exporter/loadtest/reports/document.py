"""A report as values that are the same in each format: sections of text, lists, tables and charts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class Tone(StrEnum):
    """What a text means for the reader, shown by colour and shape beside the word itself."""

    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"
    OPEN = "open"


class Cell(NamedTuple):
    """A cell of a table; numbers stand at the right."""

    text: str
    tone: Tone = Tone.PLAIN
    is_number: bool = False


def number(text: str, tone: Tone = Tone.PLAIN) -> Cell:
    """Return a cell with a number."""
    return Cell(text, tone, is_number=True)


class Text(NamedTuple):
    """A paragraph."""

    text: str
    tone: Tone = Tone.PLAIN


class Bullets(NamedTuple):
    """A list of lines."""

    lines: Sequence[str]


class Table(NamedTuple):
    """A table; the first cell of a row is its name."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


class Series(NamedTuple):
    """A line of a chart: points of x and y, in the order of x, with gaps where y is None.

    `hue` is the number of a colour: what is about one thing has one hue, from `shade` 0, the strongest, to 2.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    hue: int = 0
    shade: int = 0
    is_dashed: bool = False


class Tick(NamedTuple):
    """A labelled place on an axis."""

    at: float
    label: str


class Chart(NamedTuple):
    """Lines over x; `text` is what the chart shows, in words, `unit` that of y: one of `axes.UNITS`.

    Without `x_ticks`, x is seconds. `is_log` asks for a logarithmic y.
    """

    title: str
    text: str
    unit: str
    series: Sequence[Series]
    is_log: bool = False
    x_ticks: Sequence[Tick] | None = None
    x_title: str = "time after the start"


Block = Text | Bullets | Table | Chart


class Section(NamedTuple):
    """A part of a report."""

    title: str
    blocks: Sequence[Block]


class Tile(NamedTuple):
    """A figure that the first look should find; those of one group are side by side."""

    group: str
    name: str
    value: str
    text: str
    tone: Tone = Tone.PLAIN


class Document(NamedTuple):
    """A report: `verdict` with its `tone`, a `summary` of one or two sentences, `facts` about when and where."""

    title: str
    verdict: str
    tone: Tone
    summary: str
    facts: Sequence[tuple[str, str]]
    tiles: Sequence[Tile]
    sections: Sequence[Section]
