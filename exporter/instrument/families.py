"""How the series of a feed become text: rows of a table, each a family, and what they are made of. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from exporter.feeds.feed import Feed
from exporter.instrument.exposition import Family

Lines = Callable[[str, str, Feed], str]
# Stand in the text of a histogram until they are known.
_LABELS, _NUMBER = "\0", "\1"


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


def buckets(name: str, labels: str, bounds: tuple[str, ...], counts: Sequence[int], total: float) -> str:
    """Return the lines of one histogram; `counts` are those of single buckets."""
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
