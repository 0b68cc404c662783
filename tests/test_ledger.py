"""Comparing the sides of an audit finds every missing, doubled, altered or unexpected event, and nothing else."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.kafka.positions import Span
from exporter.model import FeedKey, Partition
from exporter.tools.audit.ledger import (
    BatchFacts,
    Difference,
    DifferenceKind,
    EventTruth,
    InputTruth,
    MetricsTruth,
    compare,
)
from exporter.tools.audit.readers import BatchEvent

UPBIT = FeedKey("korea", "upbit", "ticker")
OKX = FeedKey("asia", "okx", "trade")
PLACES = (Partition("ticker-data.korea", 0), Partition("ticker-data.korea", 1), Partition("trade-data.asia", 0))

Spans = dict[Partition, Span]
Entry = tuple[Partition, int, BatchFacts | None]

facts = st.builds(
    lambda feed, size, unique, stamp: BatchFacts(feed, size, min(size, unique), 1 / min(size, unique), stamp),
    st.sampled_from((UPBIT, OKX)),
    st.integers(1, 1000),
    st.integers(1, 1000),
    st.integers(0, 2_000_000_000_000),
)
# What lies in the input: for each place and offset a batch, or None for a record that is none.
inputs = st.dictionaries(
    st.tuples(st.sampled_from(PLACES), st.integers(10, 40)), st.one_of(facts, st.none()), min_size=1
).map(lambda records: [(place, offset, found) for (place, offset), found in sorted(records.items())])
SPANS = {place: Span(10, 41, 50) for place in PLACES}


def input_truth(entries: list[Entry]) -> InputTruth:
    """The truth of an input with these records."""
    truth = InputTruth(SPANS)
    for place, offset, found in entries:
        if found is None:
            truth.reject(place)
        else:
            truth.accept(place, offset, found)
    return truth


def event_truth(events: list[BatchEvent]) -> EventTruth:
    """The truth of an event topic with these events in this order."""
    truth = EventTruth(SPANS)
    for event in events:
        truth.batch(*event)
    return truth


def right_events(entries: list[Entry]) -> list[BatchEvent]:
    """One event for each batch."""
    return [BatchEvent(place, offset, found) for place, offset, found in entries if found is not None]


def differences(entries: list[Entry], events: list[BatchEvent]) -> list[tuple[DifferenceKind, str]]:
    """What an audit of batches finds, and where."""
    return [(found.kind, found.where) for found in compare(input_truth(entries), event_truth(events), None)]


def where(event: BatchEvent) -> str:
    """The place of the record that an event is about."""
    return f"{event.place}/{event.offset}"


@given(inputs, st.randoms())
def test_one_event_for_each_batch_in_any_order_agrees(entries: list[Entry], random: Any) -> None:
    """The order of events does not matter."""
    events = right_events(entries)
    random.shuffle(events)
    assert differences(entries, events) == []


@given(inputs, st.data())
def test_removed_event_is_missing(entries: list[Entry], data: st.DataObject) -> None:
    """Exactly those that were removed are found."""
    events = right_events(entries)
    removed = data.draw(st.sets(st.sampled_from(events))) if events else set()
    left = [event for event in events if event not in removed]
    assert differences(entries, left) == [
        (DifferenceKind.MISSING, where(event)) for event in events if event in removed
    ]


@given(inputs, st.data())
def test_repeated_event_is_doubled(entries: list[Entry], data: st.DataObject) -> None:
    """However often it is repeated."""
    events = right_events(entries)
    repeated = data.draw(st.lists(st.sampled_from(events))) if events else []
    expected = [(DifferenceKind.DOUBLED, where(event)) for event in events if event in repeated]
    assert differences(entries, events + repeated) == expected


@given(inputs.filter(lambda entries: bool(right_events(entries))), st.data())
def test_altered_event_is_found(entries: list[Entry], data: st.DataObject) -> None:
    """Whichever of its facts was altered, by however little."""
    events = right_events(entries)
    index = data.draw(st.integers(0, len(events) - 1))
    original = events[index]
    field = data.draw(st.sampled_from(BatchFacts._fields))
    old: Any = getattr(original.facts, field)
    others: dict[str, list[Any]] = {
        "feed": [FeedKey("asia", "upbit", "ticker")],
        "cache_efficiency": [0.0, math.nan, math.nextafter(original.facts.cache_efficiency, 2)],
    }
    new: Any = data.draw(st.sampled_from(others.get(field) or [old - 1, old + 1]))
    events[index] = original._replace(facts=original.facts._replace(**{field: new}))
    assert differences(entries, events) == [(DifferenceKind.ALTERED, where(original))]


@given(inputs, st.sampled_from(PLACES), st.integers(10, 60), facts)
def test_event_about_no_batch_is_unexpected(
    entries: list[Entry], place: Partition, offset: int, found: BatchFacts
) -> None:
    """Be it about a rejected record or about none; later records that were not audited may have events."""
    events = [*right_events(entries), BatchEvent(place, offset, found)]
    known = {(entry_place, entry_offset) for entry_place, entry_offset, batch in entries if batch is not None}
    if (place, offset) not in known:
        expected = [] if 41 <= offset < 50 else [(DifferenceKind.UNEXPECTED, f"{place}/{offset}")]
        assert differences(entries, events) == expected


def test_event_about_another_topic_is_unexpected() -> None:
    """An event must be about a record of the audited topics."""
    event = BatchEvent(Partition("other", 0), 3, BatchFacts(UPBIT, 1, 1, 1.0, 0))
    assert differences([], [event]) == [(DifferenceKind.UNEXPECTED, "other/0/3")]


def test_events_about_records_that_are_gone_are_only_counted() -> None:
    """Retention may take records away whose events are still there."""
    events = event_truth([BatchEvent(PLACES[0], 3, BatchFacts(UPBIT, 7, 7, 1 / 7, 0))])
    assert list(compare(input_truth([]), events, None)) == []
    assert (events.outside[UPBIT].batches, events.outside[UPBIT].messages) == (1, 7)


def test_difference_names_what_was_altered() -> None:
    """With both values."""
    right = BatchFacts(UPBIT, 4, 2, 0.5, 1000)
    events = event_truth([BatchEvent(PLACES[0], 10, right._replace(batch_size=5, timestamp_ms=999))])
    assert list(compare(input_truth([(PLACES[0], 10, right)]), events, None)) == [
        Difference(
            DifferenceKind.ALTERED,
            "ticker-data.korea/0/10",
            "batch_size is 5 instead of 4, timestamp_ms is 999 instead of 1000",
        )
    ]


@given(inputs, st.integers(-2, 2), st.integers(-2, 2), st.booleans())
def test_summaries_may_not_tell_of_more_than_there_is(
    entries: list[Entry], batches: int, messages: int, strict: bool
) -> None:
    """Nor of less when they are strict."""
    truth, events = input_truth(entries), event_truth(right_events(entries))
    for feed, tally in truth.feeds.items():
        events.summary(feed, tally.batches, tally.messages)
    events.summary(UPBIT, batches, messages)
    wrong = [delta for delta in (batches, messages) if delta > 0 or (strict and delta < 0)]
    found = list(compare(truth, events, None, strict_summaries=strict))
    assert [(difference.kind, difference.where) for difference in found] == [
        (DifferenceKind.SUMMARY, str(UPBIT))
    ] * len(wrong)


def test_summaries_may_tell_of_batches_outside_the_audit() -> None:
    """As far as these have events."""
    events = event_truth([BatchEvent(PLACES[0], 45, BatchFacts(UPBIT, 7, 7, 1 / 7, 0))])
    events.summary(UPBIT, 1, 7)
    assert list(compare(input_truth([]), events, None, strict_summaries=True)) == []
    events.summary(UPBIT, 0, 1)
    assert [found.kind for found in compare(input_truth([]), events, None)] == [DifferenceKind.SUMMARY]


def right_metrics(truth: InputTruth) -> MetricsTruth:
    """Counters that agree with the input."""
    metrics = MetricsTruth()
    for feed, tally in truth.feeds.items():
        metrics.batches[feed] += tally.batches
        metrics.messages[feed] += tally.messages
    metrics.records.update(truth.records)
    metrics.rejected.update(truth.rejected)
    return metrics


@given(inputs)
def test_counters_that_equal_the_input_agree(entries: list[Entry]) -> None:
    """Also when feeds and topics without records have a zero."""
    truth = input_truth(entries)
    metrics = right_metrics(truth)
    metrics.batches[FeedKey("europe", "hitbtc", "ticker")] += 0
    metrics.rejected["other"] += 0
    assert list(compare(truth, None, metrics)) == []


@given(inputs, st.sampled_from(("batches", "messages", "records", "rejected")), st.sampled_from((-1, 1)))
def test_counter_that_is_off_is_found(entries: list[Entry], name: str, delta: int) -> None:
    """Exactly the one that is off."""
    truth = input_truth(entries)
    metrics = right_metrics(truth)
    counter: Any = getattr(metrics, name)
    counter[UPBIT if name in ("batches", "messages") else "ticker-data.korea"] += delta
    found = list(compare(truth, None, metrics))
    assert [difference.kind for difference in found] == [DifferenceKind.METRIC]
    assert {"batches": "marketdata_batches_total", "messages": "marketdata_messages_total"}.get(
        name, f"marketdata_records_{name}_total".replace("records_records", "records")
    ) == found[0].where.split()[0]


def test_unreadable_record_among_events_is_a_difference() -> None:
    """With its place and why."""
    events = event_truth([])
    events.unreadable("events/0/1", "no event")
    assert list(compare(input_truth([]), events, None)) == [
        Difference(DifferenceKind.UNREADABLE, "events/0/1", "no event")
    ]
