"""What each side of an audit says, and the differences between them. Pure.

The input topics say what should be; the events and the metrics say what the sidecar made of it. A batch takes about
50 bytes on each side.
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
    """What is said of one batch; `timestamp_ms` is the batch's own, Unix."""

    feed: FeedKey
    batch_size: int
    unique_symbols: int
    cache_efficiency: float
    timestamp_ms: int


class Kind(StrEnum):
    """What can differ; a closed set."""

    MISSING = "missing"
    DOUBLED = "doubled"
    ALTERED = "altered"
    UNEXPECTED = "unexpected"
    UNREADABLE = "unreadable"
    SUMMARY = "summary"
    METRIC = "metric"


class Difference(NamedTuple):
    """One thing on which the sides do not agree; `where` is topic/partition/offset, a feed or a series."""

    kind: Kind
    where: str
    detail: str


@dataclass(slots=True)
class Tally:
    """Batches and the messages in them."""

    batches: int = 0
    messages: int = 0

    def add(self, batches: int, messages: int) -> None:
        """Add what another tally or batch holds."""
        self.batches += batches
        self.messages += messages


class Tallies(dict[FeedKey, Tally]):
    """Tallies by feed; a feed that nobody mentioned has zeros."""

    def __missing__(self, feed: FeedKey) -> Tally:
        return Tally()

    def add(self, feed: FeedKey, batches: int, messages: int) -> None:
        """Add to the tally of one feed."""
        self.setdefault(feed, Tally()).add(batches, messages)


class Batches:
    """The facts about the batches of one partition, kept in columns."""

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
        """Yield offsets with their facts in ascending order; an offset that was added twice comes twice."""
        feeds = list(self._feeds)
        for index in sorted(range(len(self)), key=self._offsets.__getitem__):
            feed, size, unique, stamp = self._numbers[4 * index : 4 * index + 4]
            facts = BatchFacts(feeds[feed], size, unique, self._efficiencies[index], stamp)
            yield self._offsets[index], facts


_NONE = Batches()


class InputTruth:
    """What lies in the audited spans of the input topics; `records` and `rejected` are by topic.

    `gaps` are records that cannot be read; they count nowhere else.
    """

    def __init__(self, spans: Mapping[Partition, Span]) -> None:
        self.spans = spans
        self.batches: dict[Partition, Batches] = {}
        self.feeds = Tallies()
        self.records: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.filtered = 0
        self.gaps: list[tuple[Partition, Gap]] = []

    def accept(self, place: Partition, offset: int, facts: BatchFacts) -> None:
        """Add a record that is a valid batch of a wanted feed."""
        self.records[place.topic] += 1
        self.batches.setdefault(place, Batches()).append(offset, facts)
        self.feeds.add(facts.feed, 1, facts.batch_size)

    def reject(self, place: Partition) -> None:
        """Add a record that is no valid batch."""
        self.records[place.topic] += 1
        self.rejected[place.topic] += 1

    def filter(self, place: Partition) -> None:
        """Add a batch of a feed that is not wanted."""
        self.records[place.topic] += 1
        self.filtered += 1


class EventTruth:
    """What the event topic says; batch events about records outside the audited spans are only counted."""

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
        """Add a record that is no event."""
        self.differences.append(Difference(Kind.UNREADABLE, where, why))


@dataclass(slots=True)
class MetricsTruth:
    """What the counters of all replicas say together: by feed, and by topic."""

    batches: Counter[FeedKey] = field(default_factory=Counter)
    messages: Counter[FeedKey] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)


def compare(
    inputs: InputTruth, events: EventTruth | None, metrics: MetricsTruth | None, strict_summaries: bool = False
) -> Iterator[Difference]:
    """Yield every difference; a side that is None was not asked.

    Summaries may not tell of more than the batches there are; when they are strict they must tell of all.
    """
    if events is not None:
        yield from events.differences
        for place in sorted(inputs.batches.keys() | events.batches.keys()):
            yield from _compare_batches(place, inputs.batches.get(place, _NONE), events.batches.get(place, _NONE))
        yield from _compare_summaries(inputs, events, strict_summaries)
    if metrics is not None:
        yield from _compare_metrics(inputs, metrics)


def _compare_batches(place: Partition, expected: Batches, found: Batches) -> Iterator[Difference]:
    """Lay the records and the events of one partition side by side, offset by offset."""
    records = ((offset, True, facts) for offset, facts in expected.by_offset())
    events = ((offset, False, facts) for offset, facts in found.by_offset())
    by_offset = itemgetter(0)
    for offset, group in groupby(heapq.merge(records, events, key=by_offset), key=by_offset):
        sides = list(group)
        wanted = [facts for _, is_record, facts in sides if is_record]
        told = [facts for _, is_record, facts in sides if not is_record]
        yield from _compare_record(f"{place}/{offset}", wanted, told)


def _compare_record(where: str, wanted: list[BatchFacts], told: list[BatchFacts]) -> Iterator[Difference]:
    """Compare what one record says, if it is a batch, with its events."""
    if not told:
        yield Difference(Kind.MISSING, where, f"a batch of {wanted[0].feed} has no event")
    elif not wanted:
        yield Difference(Kind.UNEXPECTED, where, f"an event of {told[0].feed} is about no accepted batch")
    elif len(told) > 1:
        yield Difference(Kind.DOUBLED, where, f"a batch of {wanted[0].feed} has {len(told)} events")
    for facts in told:
        if wanted and facts != wanted[0]:
            yield Difference(Kind.ALTERED, where, _altered(wanted[0], facts))


def _altered(wanted: BatchFacts, told: BatchFacts) -> str:
    pairs = zip(BatchFacts._fields, wanted, told, strict=True)
    return ", ".join(f"{name} is {found} instead of {right}" for name, right, found in pairs if found != right)


def _compare_summaries(inputs: InputTruth, events: EventTruth, strict: bool) -> Iterator[Difference]:
    for feed in sorted(inputs.feeds.keys() | events.outside.keys() | events.summaries.keys()):
        there, outside, told = inputs.feeds[feed], events.outside[feed], events.summaries[feed]
        for word in ("batches", "messages"):
            limit = getattr(there, word) + getattr(outside, word)
            total = getattr(told, word)
            if total > limit or (strict and total < limit):
                yield Difference(Kind.SUMMARY, str(feed), f"summaries tell of {total} {word}, there are {limit}")


def _compare_metrics(inputs: InputTruth, metrics: MetricsTruth) -> Iterator[Difference]:
    batches = {feed: tally.batches for feed, tally in inputs.feeds.items()}
    messages = {feed: tally.messages for feed, tally in inputs.feeds.items()}
    yield from _compare_counters("marketdata_batches_total", batches, metrics.batches)
    yield from _compare_counters("marketdata_messages_total", messages, metrics.messages)
    yield from _compare_counters("marketdata_records_total", inputs.records, metrics.records)
    yield from _compare_counters("marketdata_records_rejected_total", inputs.rejected, metrics.rejected)


def _compare_counters(name: str, wanted: Mapping[_Key, int], told: Mapping[_Key, int]) -> Iterator[Difference]:
    for key in sorted(wanted.keys() | told.keys()):
        if wanted.get(key, 0) != told.get(key, 0):
            yield Difference(Kind.METRIC, f"{name} of {key}", f"is {told.get(key, 0)} instead of {wanted.get(key, 0)}")
