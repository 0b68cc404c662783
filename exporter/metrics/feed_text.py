"""How the series of a feed become text: rows of a table, each a family, and what they are made of. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from exporter.feeds import Feed
from exporter.metrics.exposition import Family

Lines = Callable[[str, str, Feed], str]


class FeedFamily(NamedTuple):
    """One family of all feeds; `lines` gets its name, the text of a feed's labels, and the feed."""

    name: str
    kind: str
    help: str
    lines: Lines
    unit: str = ""


class FeedText(NamedTuple):
    """What one feed shows, for each row: its lines, and how many they are.

    They are counted here, once for each change of the feed: to count those of thousands takes longer than their page.
    """

    blocks: tuple[str, ...]
    series: tuple[int, ...]


def families(rows: Sequence[FeedFamily], texts: Sequence[FeedText]) -> Iterator[Family]:
    """Yield the families of all feeds, from the texts of each feed."""
    for index, row in enumerate(rows):
        blocks, series = [text.blocks[index] for text in texts], sum([text.series[index] for text in texts])
        yield Family(row.name, row.kind, row.help, row.unit, blocks, series=series)


def texts(rows: Sequence[FeedFamily], labels: str, feed: Feed) -> FeedText:
    """Return the lines of one feed."""
    blocks = tuple([row.lines(row.name, labels, feed) for row in rows])
    return FeedText(blocks, tuple([block.count("\n") for block in blocks]))


def buckets(name: str, labels: str, bounds: Sequence[str], counts: Sequence[int], total: float) -> str:
    """Return the lines of one histogram; `counts` are those of single buckets."""
    cumulated = list(accumulate(counts))
    lines = [f'{name}_bucket{{{labels},le="{bound}"}} {n}\n' for bound, n in zip(bounds, cumulated, strict=True)]
    lines.append(f"{name}_count{{{labels}}} {cumulated[-1]}\n{name}_sum{{{labels}}} {total}\n")
    return "".join(lines)


def spelled(bounds: Iterable[float]) -> tuple[str, ...]:
    """Return the bounds of buckets as `le` spells them, with the last that has none."""
    return (*(repr(float(bound)) for bound in bounds), "+Inf")


def counter(value: Callable[[Feed], int]) -> Lines:
    """Return the lines of a counter."""
    return lambda name, labels, feed: f"{name}_total{{{labels}}} {value(feed)}\n"


def stamp(value: Callable[[Feed], int]) -> Lines:
    """Return the lines of a point in time, from milliseconds; none when it is unknown or the feed not ours."""

    def lines(name: str, labels: str, feed: Feed) -> str:
        time_ms = value(feed)
        return f"{name}{{{labels}}} {time_ms / 1000}\n" if time_ms > 0 and feed.partitions else ""

    return lines
