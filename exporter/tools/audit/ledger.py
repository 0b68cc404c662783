"""The sides of an audit and the differences between them. Pure.

The input topics are the expected side; the events and the metrics are compared with it. A batch takes about 50 bytes
on each side.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, TypeVar

from exporter.kafka.positions import Span
from exporter.kafka.unreadable import Gap
from exporter.model import FeedKey, Partition

_Key = TypeVar("_Key", str, FeedKey)


class BatchFacts(NamedTuple):
    """The numbers of one batch; `timestamp_ms` is the time of the batch in Unix milliseconds."""

    feed: FeedKey
    batch_size: int
    unique_symbols: int
    cache_efficiency: float
    timestamp_ms: int


class DifferenceKind(StrEnum):
    """Kinds of differences."""

    MISSING = "missing"
    DOUBLED = "doubled"
    ALTERED = "altered"
    UNEXPECTED = "unexpected"
    UNREADABLE = "unreadable"
    SUMMARY = "summary"
    METRIC = "metric"


class Difference(NamedTuple):
    """A difference between the sides; `where` is topic/partition/offset, a feed or a series."""

    kind: DifferenceKind
    where: str
    detail: str


@dataclass(slots=True)
class Tally:
    """Batches and the messages in them."""

    batches: int = 0
    messages: int = 0

    def add(self, batches: int, messages: int) -> None:
        """Add numbers."""
        self.batches += batches
        self.messages += messages


class Tallies(dict[FeedKey, Tally]):
    """Tallies by feed; an absent feed has zeros."""

    def __missing__(self, feed: FeedKey) -> Tally:
        return Tally()

    def add(self, feed: FeedKey, batches: int, messages: int) -> None:
        """Add to the tally of one feed."""
        self.setdefault(feed, Tally()).add(batches, messages)


class Batches:
    """The numbers of the batches of one partition, kept in columns."""

    def __init__(self) -> None:
        self._offsets = array("q")
        self._numbers = array("q")
        self._efficiencies = array("d")
        self._feeds: dict[FeedKey, int] = {}

    def __len__(self) -> int:
        return len(self._offsets)

    def append(self, offset: int, facts: BatchFacts) -> None:
        """Add one batch; raises OverflowError when a number does not fit into 64 bits."""
        feed = self._feeds.setdefault(facts.feed, len(self._feeds))
        self._numbers.extend((feed, facts.batch_size, facts.unique_symbols, facts.timestamp_ms))
        self._efficiencies.append(facts.cache_efficiency)
        self._offsets.append(offset)

    def by_offset(self) -> Iterator[tuple[int, BatchFacts]]:
        """Yield offsets with their numbers in ascending order; an offset that was added twice comes twice."""
        feeds = list(self._feeds)
        for index in sorted(range(len(self)), key=self._offsets.__getitem__):
            feed, size, unique, stamp = self._numbers[4 * index : 4 * index + 4]
            facts = BatchFacts(feeds[feed], size, unique, self._efficiencies[index], stamp)
            yield self._offsets[index], facts


_NONE = Batches()


class InputTruth:
    """The records in the audited spans of the input topics; `records` and `rejected` are by topic.

    `batches` are those that have an event each, `feeds` counts all. `events` are those of ingesting services, by
    name. `filtered` are feeds that are filtered out, and
    control messages.
    `gaps` are unreadable records; they count nowhere else.
    """

    def __init__(self, spans: Mapping[Partition, Span]) -> None:
        self.spans = spans
        self.batches: dict[Partition, Batches] = {}
        self.feeds = Tallies()
        self.records: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.filtered = 0
        self.gaps: list[tuple[Partition, Gap]] = []

    def accept(self, place: Partition, offset: int, facts: BatchFacts, *, has_event: bool = True) -> None:
        """Add a valid batch of an included feed."""
        self.records[place.topic] += 1
        self.feeds.add(facts.feed, 1, facts.batch_size)
        if has_event:
            self.batches.setdefault(place, Batches()).append(offset, facts)

    def reject(self, place: Partition) -> None:
        """Add a rejected record."""
        self.records[place.topic] += 1
        self.rejected[place.topic] += 1

    def add_event(self, place: Partition, name: str) -> None:
        """Add an event of an ingesting service."""
        self.records[place.topic] += 1
        self.events[name] += 1

    def filter(self, place: Partition) -> None:
        """Add a batch of a feed that is filtered out."""
        self.records[place.topic] += 1
        self.filtered += 1


class EventTruth:
    """The events in the event topic; batch events about records outside the audited spans are only counted."""

    def __init__(self, spans: Mapping[Partition, Span]) -> None:
        self._spans = spans
        self.batches: dict[Partition, Batches] = {}
        self.feeds = Tallies()
        self.outside = Tallies()
        self.summaries = Tallies()
        self.differences: list[Difference] = []

    def batch(self, place: Partition, offset: int, facts: BatchFacts) -> None:
        """Add a batch event about the record at this place."""
        span = self._spans.get(place, Span(0, 0, 0))
        if offset < span.start or span.end <= offset < span.written:
            self.outside.add(facts.feed, 1, facts.batch_size)
            return
        self.batches.setdefault(place, Batches()).append(offset, facts)
        self.feeds.add(facts.feed, 1, facts.batch_size)

    def summary(self, feed: FeedKey, batches: int, messages: int) -> None:
        """Add a summary."""
        self.summaries.add(feed, batches, messages)

    def unreadable(self, where: str, why: str) -> None:
        """Add a record that is not an event."""
        self.differences.append(Difference(DifferenceKind.UNREADABLE, where, why))


@dataclass(slots=True)
class MetricsTruth:
    """The sums of the counters of all replicas: by feed, and by topic."""

    batches: Counter[FeedKey] = field(default_factory=Counter)
    messages: Counter[FeedKey] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)


def compare(
    inputs: InputTruth, events: EventTruth | None, metrics: MetricsTruth | None, strict_summaries: bool = False
) -> Iterator[Difference]:
    """Yield every difference; a side that is None is not compared.

    Summaries may not count more batches than there are; with `strict_summaries` they must count all.
    """
    if events is not None:
        yield from events.differences
        for place in sorted(inputs.batches.keys() | events.batches.keys()):
            yield from _compare_batches(place, inputs.batches.get(place, _NONE), events.batches.get(place, _NONE))
        yield from _compare_summaries(inputs, events, strict_summaries)
    if metrics is not None:
        yield from _compare_metrics(inputs, metrics)


def _compare_batches(place: Partition, inputs: Batches, events: Batches) -> Iterator[Difference]:
    """Compare the records and the events of one partition, offset by offset."""
    expected = ((offset, True, facts) for offset, facts in inputs.by_offset())
    published = ((offset, False, facts) for offset, facts in events.by_offset())
    by_offset = itemgetter(0)
    for offset, group in groupby(heapq.merge(expected, published, key=by_offset), key=by_offset):
        sides = list(group)
        wanted = [facts for _, is_record, facts in sides if is_record]
        found = [facts for _, is_record, facts in sides if not is_record]
        yield from _compare_record(f"{place}/{offset}", wanted, found)


def _compare_record(where: str, wanted: list[BatchFacts], found: list[BatchFacts]) -> Iterator[Difference]:
    """Compare a record, if it is a batch, with its events."""
    if not found:
        yield Difference(DifferenceKind.MISSING, where, f"a batch of {wanted[0].feed} has no event")
    elif not wanted:
        yield Difference(DifferenceKind.UNEXPECTED, where, f"an event of {found[0].feed} is about no accepted batch")
    elif len(found) > 1:
        yield Difference(DifferenceKind.DOUBLED, where, f"a batch of {wanted[0].feed} has {len(found)} events")
    for facts in found:
        if wanted and facts != wanted[0]:
            yield Difference(DifferenceKind.ALTERED, where, _altered(wanted[0], facts))


def _altered(wanted: BatchFacts, found: BatchFacts) -> str:
    pairs = zip(BatchFacts._fields, wanted, found, strict=True)
    return ", ".join(f"{name} is {actual} instead of {right}" for name, right, actual in pairs if actual != right)


def _compare_summaries(inputs: InputTruth, events: EventTruth, strict: bool) -> Iterator[Difference]:
    for feed in sorted(inputs.feeds.keys() | events.outside.keys() | events.summaries.keys()):
        there, outside, summed = inputs.feeds[feed], events.outside[feed], events.summaries[feed]
        for word in ("batches", "messages"):
            limit = getattr(there, word) + getattr(outside, word)
            total = getattr(summed, word)
            if total > limit or (strict and total < limit):
                yield Difference(
                    DifferenceKind.SUMMARY, str(feed), f"summaries count {total} {word}, there are {limit}"
                )


def _compare_metrics(inputs: InputTruth, metrics: MetricsTruth) -> Iterator[Difference]:
    batches = {feed: tally.batches for feed, tally in inputs.feeds.items()}
    messages = {feed: tally.messages for feed, tally in inputs.feeds.items()}
    yield from _compare_counters("marketdata_batches_total", batches, metrics.batches)
    yield from _compare_counters("marketdata_messages_total", messages, metrics.messages)
    yield from _compare_counters("marketdata_records_total", inputs.records, metrics.records)
    yield from _compare_counters("marketdata_records_rejected_total", inputs.rejected, metrics.rejected)
    yield from _compare_counters("marketdata_ingestion_events_total", inputs.events, metrics.events)


def _compare_counters(name: str, wanted: Mapping[_Key, int], found: Mapping[_Key, int]) -> Iterator[Difference]:
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key, 0) != found.get(key, 0):
            yield Difference(
                DifferenceKind.METRIC, f"{name} of {key}", f"is {found.get(key, 0)} instead of {wanted.get(key, 0)}"
            )
