"""Metric families as rows of a table, and the lines that each row makes of an object, such as a feed. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from prometheus_client.samples import Exemplar

from exporter.instrument.exposition import Family
from exporter.instrument.histogram import Histogram
from exporter.instrument.protobuf import encoded_labels, metric_histogram, metric_lines

T = TypeVar("T")
# Makes the lines of one object from the object, the name of the family and the text of the object's labels: a method
# of the object's class fits.
Lines: TypeAlias = Callable[[T, str, str], str]
# Makes the histograms of one object, each with the text of further labels: `,stage="poll"`, or nothing.
Histograms: TypeAlias = Callable[[T], Iterable[tuple[str, Histogram]]]
# Stand in a text for what is filled in later. No label value that is shown has any of them.
_LABELS, _NUMBER, _NAME = "\0", "\1", "\2"
# Objects whose lines get the name of their family at once: some kilobytes of text.
_TOGETHER = 16
_NO_EXEMPLARS: Mapping[str, Exemplar] = {}


class Row(NamedTuple, Generic[T]):
    """A family with series for each object; `name` is without `_total`. `histogram` makes those of histograms."""

    name: str
    kind: str
    help: str
    lines: Lines[T]
    unit: str = ""
    histograms: Histograms[T] | None = None

    def message(
        self, item: T, labels: str, known: bytes, exemplars: Mapping[str, Exemplar] = _NO_EXEMPLARS
    ) -> tuple[bytes, int]:
        """Return what `lines` gives, as the metrics of a page in protobuf, with the number of series.

        `known` are the labels from `encoded_labels`.
        """
        if self.histograms is None:
            if not (block := self.lines(item, self.name, labels)):
                return b"", 0
            start = len(self.name) + len(labels) + (7 if self.kind == "counter" else 1)  # with _total and the brace
            return metric_lines(block, self.kind, start, known, exemplars), block.count("\n")
        found = list(self.histograms(item))
        body = b"".join([metric_histogram(one, known + encoded_labels(more)) for more, one in found])
        return body, sum([series_in_protobuf(one) for _, one in found])


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
    blocks = _blocks(parts, labels)
    return RowTexts(tuple(blocks), tuple([block.count("\n") for block in blocks]))


def _blocks(parts: Iterable[PartOf], labels: str, name: str = "") -> list[str]:
    """Return the lines for each row, with another name than that of the row if one is given."""
    blocks: list[str] = []
    for rows, part, has_gauges in parts:
        for row in rows:
            is_shown = part is not None and (has_gauges or row.kind != "gauge")
            blocks.append(row.lines(part, name or row.name, labels) if is_shown else "")
    return blocks


class CompactTexts(NamedTuple):
    """What `RowTexts` has of one object, in a fifth of the memory: names and labels are filled in with each page.

    `text` has all blocks, which end at `ends`.
    """

    text: str
    ends: array[int]
    series: array[int]
    labels: str

    def block(self, index: int) -> str:
        """Return the lines for a row, in which the name is still to be filled in."""
        start, end = self.ends[index - 1] if index else 0, self.ends[index]
        return self.text[start:end].replace(_LABELS, self.labels) if end > start else ""


def compact_texts(parts: Iterable[PartOf], labels: str) -> CompactTexts:
    """Return what `row_texts` returns, in less memory."""
    blocks = _blocks(parts, _LABELS, _NAME)
    series = array("I", [block.count("\n") for block in blocks])
    return CompactTexts("".join(blocks), array("I", accumulate(map(len, blocks))), series, labels)


def compact_families(rows: Sequence[Row[T]], texts: Sequence[CompactTexts]) -> list[Family]:
    """Return the families of all objects, from the texts of each object; the lines are made as they are read."""
    found: list[Family] = []
    for index, row in enumerate(rows):
        series = sum([text.series[index] for text in texts])
        blocks = _named(row.name, index, texts) if series else ()
        found.append(Family(row.name, row.kind, row.help, row.unit, blocks, series=series))
    return found


def _named(name: str, index: int, texts: Sequence[CompactTexts]) -> Iterator[str]:
    for first in range(0, len(texts), _TOGETHER):
        yield "".join([text.block(index) for text in texts[first : first + _TOGETHER]]).replace(_NAME, name)


class RowMessages(NamedTuple):
    """The metrics of one object for each row as protobuf, and the numbers of their series."""

    blocks: tuple[bytes, ...]
    series: tuple[int, ...]


def families(rows: Sequence[Row[T]], texts: Sequence[RowTexts]) -> list[Family]:
    """Return the families of all objects, from the texts of each object."""
    found: list[Family] = []
    for index, row in enumerate(rows):
        blocks, series = [text.blocks[index] for text in texts], sum([text.series[index] for text in texts])
        found.append(Family(row.name, row.kind, row.help, row.unit, blocks, series=series))
    return found


def message_families(rows: Sequence[Row[T]], messages: Sequence[RowMessages]) -> list[Family]:
    """Return the families of all objects, from the messages of each object."""
    found: list[Family] = []
    for index, row in enumerate(rows):
        blocks, series = [each.blocks[index] for each in messages], sum([each.series[index] for each in messages])
        found.append(Family(row.name, row.kind, row.help, row.unit, (), series=series, messages=blocks))
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


def histogram(name: str, help: str, find: Callable[[T], Histogram | None], unit: str = "") -> Row[T]:
    """Return the row of a family with one histogram for each object; without one (None), it has no lines."""

    def found(item: T) -> Iterable[tuple[str, Histogram]]:
        one = find(item)
        return () if one is None else (("", one),)

    return histograms(name, help, found, unit)


def histograms(name: str, help: str, find: Histograms[T], unit: str = "") -> Row[T]:
    """Return the row of a family with several histograms for each object."""

    def lines(item: T, name: str, labels: str) -> str:
        return "".join([histogram_text(name, labels + more, one) for more, one in find(item)])

    return Row(name, "histogram", help, lines, unit, find)


def histogram_text(name: str, labels: str, histogram: Histogram) -> str:
    """Return the lines of one histogram; text has no native buckets, so without classic ones there is a single one."""
    bounds, total = histogram.bounds, histogram.sum
    if bounds.per_unit != 1:
        total /= bounds.per_unit
    if counts := histogram.buckets:
        return buckets(name, labels, bounds.spelled, counts, total)
    return buckets(name, labels, ("+Inf",), (histogram.count,), total)


def approximated(row: Row[T]) -> Row[T]:
    """Return the row with lines that have classic buckets even of native histograms; see `Histogram.classic_counts`."""
    if (find := row.histograms) is None:
        return row

    def lines(item: T, name: str, labels: str) -> str:
        found = [(labels + more, one.bounds.spelled, one.classic_counts(), one.shown_sum) for more, one in find(item)]
        return "".join([buckets(name, *each) for each in found])

    return row._replace(lines=lines)


def series_in_protobuf(histogram: Histogram) -> int:
    """Return the series of a histogram in protobuf: one of native buckets, those of text for classic buckets."""
    return (histogram.native is not None) + (len(histogram.buckets) + 2 if histogram.buckets else 0)


def buckets(name: str, labels: str, bounds: tuple[str, ...], counts: Sequence[int], total: float) -> str:
    """Return the lines of one histogram; `counts` are those of single buckets, `bounds` as `le` spells them."""
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
