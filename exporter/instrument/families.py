"""Metric families as rows of a table, and the lines that each row makes of an object, such as a feed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import accumulate
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from exporter.instrument.exposition import Family

T = TypeVar("T")
# Makes the lines of one object from the object, the name of the family and the text of the object's labels: a method
# of the object's class fits.
Lines: TypeAlias = Callable[[T, str, str], str]
# Stand in the text of a histogram for what is filled in later.
_LABELS, _NUMBER = "\0", "\1"


class Row(NamedTuple, Generic[T]):
    """A family with series for each object; `name` is without `_total`."""

    name: str
    kind: str
    help: str
    lines: Lines[T]
    unit: str = ""


class RowTexts(NamedTuple):
    """The lines of one object for each row, and their numbers.

    They are counted here, once for each change of the object: counting those of thousands takes longer than their page.
    """

    blocks: tuple[str, ...]
    series: tuple[int, ...]


# Rows, what they are about (None: it does not exist), and whether gauges are shown.
PartOf: TypeAlias = tuple[Sequence[Row[Any]], object, bool]


def row_texts(parts: Iterable[PartOf], labels: str) -> RowTexts:
    """Return the lines of an object for each row of its parts."""
    blocks: list[str] = []
    for rows, part, has_gauges in parts:
        for row in rows:
            is_shown = part is not None and (has_gauges or row.kind != "gauge")
            blocks.append(row.lines(part, row.name, labels) if is_shown else "")
    return RowTexts(tuple(blocks), tuple([block.count("\n") for block in blocks]))


def families(rows: Sequence[Row[T]], texts: Sequence[RowTexts]) -> list[Family]:
    """Return the families of all objects, from the texts of each object."""
    found: list[Family] = []
    for index, row in enumerate(rows):
        blocks, series = [text.blocks[index] for text in texts], sum([text.series[index] for text in texts])
        found.append(Family(row.name, row.kind, row.help, row.unit, blocks, series=series))
    return found


def counter(value: Callable[[T], int]) -> Lines[T]:
    """Return the lines of a counter."""
    return lambda item, name, labels: f"{name}_total{{{labels}}} {value(item)}\n"


def gauge(value: Callable[[T], float | None]) -> Lines[T]:
    """Return the lines of a gauge; none while the value is unknown (None)."""

    def lines(item: T, name: str, labels: str) -> str:
        number = value(item)
        return "" if number is None else f"{name}{{{labels}}} {number}\n"

    return lines


def unix_time(value_ms: Callable[[T], int]) -> Lines[T]:
    """Return the lines of a gauge in Unix seconds from a time in milliseconds; none while that is unknown (0)."""

    def lines(item: T, name: str, labels: str) -> str:
        time_ms = value_ms(item)
        return f"{name}{{{labels}}} {time_ms / 1000}\n" if time_ms > 0 else ""

    return lines


def histogram(bounds: tuple[str, ...], value: Callable[[T], tuple[Sequence[int], float]]) -> Lines[T]:
    """Return the lines of a histogram, whose value is the counts of single buckets and the sum; see `buckets`."""

    def lines(item: T, name: str, labels: str) -> str:
        counts, total = value(item)
        return buckets(name, labels, bounds, counts, total)

    return lines


def buckets(name: str, labels: str, bounds: tuple[str, ...], counts: Sequence[int], total: float) -> str:
    """Return the lines of one histogram; `counts` are those of single buckets, `bounds` come from `spelled`."""
    number = sum(counts)
    if number == (most := max(counts)):
        # As in all new feeds, and where collectors are steady: made in a third of the time.
        text = _one_bucket(name, bounds, counts.index(most)).replace(_NUMBER, str(number)).replace(_LABELS, labels)
    else:
        pairs = zip(bounds, accumulate(counts), strict=True)
        text = "".join([f'{name}_bucket{{{labels},le="{bound}"}} {n}\n' for bound, n in pairs])
    return f"{text}{name}_count{{{labels}}} {number}\n{name}_sum{{{labels}}} {total}\n"


@cache
def _one_bucket(name: str, bounds: tuple[str, ...], index: int) -> str:
    """Return the buckets of a histogram that has all its values in one of them, without labels and number."""
    zeros, rest = bounds[:index], bounds[index:]
    lines = [f'{name}_bucket{{{_LABELS},le="{bound}"}} 0\n' for bound in zeros]
    return "".join([*lines, *(f'{name}_bucket{{{_LABELS},le="{bound}"}} {_NUMBER}\n' for bound in rest)])


def spelled(bounds: Iterable[float]) -> tuple[str, ...]:
    """Return the upper bounds of buckets as `le` spells them, and `+Inf` for the last bucket."""
    return (*(repr(float(bound)) for bound in bounds), "+Inf")
