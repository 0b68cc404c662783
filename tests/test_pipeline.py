"""What becomes of a record: counted once, told once, and covered by one summary, whatever happens in between."""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

import pytest
from msgspec import structs

from exporter.config.schema import Limits
from exporter.kafka.positions import Position, Start
from exporter.model import EventType, Reason, Reset, ResetCause, SymbolUpdate
from exporter.pipeline import Pipeline
from exporter.publishing.dispatch import Dispatch
from tests.support.pipeline import (
    FIRST,
    KEY,
    NOW_MS,
    OTHER,
    SECOND,
    START,
    UNWANTED,
    pipeline,
    record,
    start,
    take,
    value,
)
from tests.support.poison import CORPUS


def owner(position: Position = START, **settings: Any) -> Pipeline:
    """A pipeline that owns the first partition."""
    made = pipeline(**settings)
    made.assign(FIRST, start(position, 100))
    return made


def told(dispatch: Dispatch, kind: EventType) -> list[dict[str, Any]]:
    """What the events of one kind say."""
    return [json.loads(event.body) for event in dispatch.events if event.type is kind]


def places(dispatch: Dispatch, kind: EventType = EventType.BATCH) -> list[int]:
    """The offsets of the records that events of one kind are about."""
    identities = [dict(event.headers)["ce_id"] for event in dispatch.events if event.type is kind]
    return [int(identity.rpartition(b"/")[2]) for identity in identities]


def totals(dispatch: Dispatch) -> dict[str, int]:
    """How many batches the summaries tell of, by exchange."""
    summaries = told(dispatch, EventType.SUMMARY)
    return {summary["exchange"]: summary["aggregated_stats"]["total_batches"] for summary in summaries}


# The three questions.


def test_a_new_record_is_counted_told_and_summarized() -> None:
    here = owner()
    dispatch = take(here, record(0))
    feed, topic = here.table.feeds[KEY], here.topics[FIRST.topic]
    assert (feed.batches, feed.messages, feed.symbol_messages) == (1, 3, {"A": 2, "B": 1})
    assert (topic.records, topic.redelivered, topic.recovered, topic.filtered) == (1, 0, 0, 0)
    assert [event["stats"]["batch_size"] for event in told(dispatch, EventType.BATCH)] == [3]
    assert dispatch.positions == {FIRST: Position(1, 0, NOW_MS)}
    assert here.take_updates() == [SymbolUpdate(FIRST, 0, KEY, NOW_MS, ["A", "A", "B"])]
    assert here.take_updates() == []
    assert totals(here.summarize([FIRST], NOW_MS)) == {"upbit": 1}


def test_what_was_published_is_read_again_only_for_the_summary() -> None:
    here = owner(Position(5, 3, NOW_MS - 40_000))
    dispatch = take(here, *[record(offset) for offset in range(3, 7)])
    topic = here.topics[FIRST.topic]
    assert (topic.records, topic.recovered, here.table.feeds[KEY].batches) == (2, 2, 2)
    assert places(dispatch) == [5, 6]
    assert [update.offset for update in here.take_updates()] == [5, 6]
    summary = here.summarize([FIRST], NOW_MS)
    assert totals(summary) == {"upbit": 4}
    assert told(summary, EventType.SUMMARY)[0]["aggregated_stats"]["elapsed_seconds"] == 40.0
    assert summary.positions == {FIRST: Position(7, 7, NOW_MS)}


def test_while_it_is_read_again_the_position_stays_where_it_was_published() -> None:
    here = owner(Position(5, 3, NOW_MS))
    assert take(here, record(3)).positions == {FIRST: Position(5, 3, NOW_MS)}
    assert here.summarize([FIRST], NOW_MS + 1).positions == {FIRST: Position(5, 4, NOW_MS + 1)}


def test_a_redelivered_record_is_told_again_and_counted_once() -> None:
    here = owner()
    take(here, record(0), record(1, b"{"))
    here.release([FIRST])
    here.assign(FIRST, start(START, 2))
    here.take_updates()
    dispatch = take(here, record(0), record(1, b"{"), record(2))
    topic = here.topics[FIRST.topic]
    assert (topic.records, topic.redelivered, topic.recovered) == (3, 2, 0)
    assert (topic.rejected[Reason.INVALID_JSON], here.table.feeds[KEY].batches) == (1, 2)
    assert (places(dispatch), places(dispatch, EventType.ERROR)) == ([0, 2], [1])
    assert [update.offset for update in here.take_updates()] == [2]
    assert totals(here.summarize([FIRST], NOW_MS)) == {"upbit": 2}


def test_a_topic_that_was_made_anew_is_counted_from_its_start() -> None:
    here = owner()
    take(here, *map(record, range(10)))
    here.release([FIRST])
    here.assign(FIRST, start(START, 9))
    assert places(take(here, record(0))) == [0]
    assert (here.topics[FIRST.topic].records, here.topics[FIRST.topic].redelivered) == (11, 0)


def test_a_topic_that_was_made_anew_and_grew_is_counted_from_its_start() -> None:
    """However many records it has by now."""
    here = owner()
    take(here, *map(record, range(10)))
    here.release([FIRST])
    reset = Reset(ResetCause.TOPIC_RECREATED, 10, 0)
    here.begin({FIRST: start(START, 20)._replace(reset=reset)}, NOW_MS)
    assert places(take(here, record(0))) == [0]
    assert (here.topics[FIRST.topic].records, here.topics[FIRST.topic].redelivered) == (11, 0)


def test_a_reset_is_counted_and_told_together_with_where_reading_goes_on() -> None:
    here = pipeline()
    reset = Reset(ResetCause.RECORDS_DELETED, 50, 30)
    dispatch = here.begin({FIRST: start(Position(80, 80, NOW_MS), 90)._replace(reset=reset)}, NOW_MS)
    topic = here.topics[FIRST.topic]
    assert (topic.lost, topic.resets[ResetCause.RECORDS_DELETED], sum(topic.resets.values())) == (30, 1, 1)
    assert topic.reset_ms == {ResetCause.RECORDS_DELETED: NOW_MS}
    assert dispatch.positions == {FIRST: Position(80, 80, NOW_MS)}
    (error,) = told(dispatch, EventType.ERROR)
    assert (error["reason"], error["topic"], error["partition"], error["offset"]) == ("records_deleted", *FIRST, 50)
    assert "records lost: 30" in error["message"]
    assert dict(dispatch.events[0].headers)["ce_id"] == f"{FIRST}/50/records_deleted".encode()


def test_after_records_were_deleted_what_was_counted_stays_counted() -> None:
    """What is read again of the rest is no news."""
    here = owner()
    take(here, *map(record, range(10)))
    here.release([FIRST])
    reset = Reset(ResetCause.RECORDS_DELETED, 0, 8)
    here.begin({FIRST: start(Position(8, 8, NOW_MS), 20)._replace(reset=reset)}, NOW_MS)
    take(here, record(8), record(9), record(10))
    assert (here.topics[FIRST.topic].records, here.topics[FIRST.topic].redelivered) == (11, 2)


def test_partitions_that_are_gone_with_their_topic_are_counted_and_told() -> None:
    here = owner()
    take(here, record(0))
    here.release([FIRST])
    dispatch = here.vanished([FIRST, SECOND], NOW_MS)
    assert here.topics[FIRST.topic].resets[ResetCause.TOPIC_DELETED] == 2
    assert [(e["partition"], e["offset"]) for e in told(dispatch, EventType.ERROR)] == [(0, 1), (1, 0)]
    assert dispatch.positions == {}


def test_a_topic_that_only_shrank_to_what_was_counted_is_the_same() -> None:
    here = owner()
    take(here, *map(record, range(10)))
    here.release([FIRST])
    here.assign(FIRST, start(START, 10))
    take(here, record(0))
    assert here.topics[FIRST.topic].redelivered == 1


def test_a_record_of_a_partition_that_is_gone_is_left_to_its_next_owner() -> None:
    here = owner()
    here.release([FIRST, SECOND])
    dispatch = take(here, record(0))
    assert not dispatch
    assert here.topics[FIRST.topic].records == 0
    assert here.table.feeds == {}


# What is not analyzed.


@pytest.mark.parametrize("content", [value(), b"no batch"])
def test_an_event_of_a_sidecar_is_filtered_and_never_the_subject_of_an_event(content: bytes) -> None:
    """Error events about error events would never end."""
    here = owner()
    dispatch = take(here, structs.replace(record(0, content), is_event=True), record(1))
    topic = here.topics[FIRST.topic]
    assert (topic.records, topic.filtered, sum(topic.rejected.values())) == (2, 1, 0)
    assert places(dispatch) == [1]
    assert not places(dispatch, EventType.ERROR)
    assert dispatch.positions[FIRST].offset == 2


def test_what_is_filtered_is_counted_and_its_offset_advances() -> None:
    here = owner()
    dispatch = take(here, record(0, value(UNWANTED)), record(1))
    topic = here.topics[FIRST.topic]
    assert (topic.records, topic.filtered, sum(topic.rejected.values())) == (2, 1, 0)
    assert places(dispatch) == [1]
    assert dispatch.positions[FIRST].offset == 2
    assert list(here.table.feeds) == [KEY]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"{", Reason.INVALID_JSON),
        (value(KEY._replace(region="a b")), Reason.INVALID_FEED),
        (value(symbols="A\n"), Reason.INVALID_SYMBOL),
        (value(symbols="ABC"), Reason.TOO_MANY_SYMBOLS),
        (value(OTHER), Reason.TOO_MANY_FEEDS),
    ],
)
def test_what_is_rejected_is_counted_told_and_its_offset_advances(content: bytes, reason: Reason) -> None:
    here = owner(limits=Limits(feeds=1, symbols_per_feed=2))
    dispatch = take(here, record(0), record(1, content), record(2))
    topic = here.topics[FIRST.topic]
    assert (topic.records, topic.filtered, here.table.feeds[KEY].batches) == (3, 0, 2)
    assert {found: number for found, number in topic.rejected.items() if number} == {reason: 1}
    assert topic.places == {reason: (FIRST, 1)}
    assert dispatch.positions[FIRST].offset == 3
    error = told(dispatch, EventType.ERROR)
    assert [(e["reason"], e["topic"], e["partition"], e["offset"]) for e in error] == [(reason, FIRST.topic, 0, 1)]
    assert [update.offset for update in here.take_updates()] == [0, 2]


def test_nothing_is_kept_of_a_record_that_is_rejected(request: pytest.FixtureRequest) -> None:
    request.addfinalizer(gc.enable)
    gc.disable()
    for poison in CORPUS:
        if not isinstance(poison.fate, Reason) or poison.fate is Reason.EMPTY:
            continue
        here, content = owner(), bytes(bytearray(poison.value or b""))  # a value of its own
        before = sys.getrefcount(content)
        take(here, record(0, content))
        assert [each.record.offset for each in here.rejection_log.take()] == [0]
        assert sys.getrefcount(content) == before, poison.fate


def test_of_many_rejections_few_are_told_and_the_next_says_how_many_were_not() -> None:
    here = owner()
    dispatch = take(here, *[record(offset, b"{") for offset in range(50)])
    assert places(dispatch, EventType.ERROR) == list(range(10))
    assert here.topics[FIRST.topic].rejected[Reason.INVALID_JSON] == 50
    later = take(here, record(50, b"{"), record(51, b"{"), record(52, b""), now_ms=NOW_MS + 1000)
    assert [(error["reason"], error["suppressed"]) for error in told(later, EventType.ERROR)] == [
        ("invalid_json", 40),
        ("empty", 0),
    ]


def test_a_rejection_that_was_published_is_not_told_again() -> None:
    here = owner(Position(1, 0, NOW_MS))
    assert places(take(here, record(0, b"{"), record(1, b"{")), EventType.ERROR) == [1]
    assert here.topics[FIRST.topic].rejected[Reason.INVALID_JSON] == 1


def rejected_of(here: Pipeline) -> tuple[int, int, int]:
    """How many rejections count for the feed, for its topic, and for whoever is on it."""
    traffic, feed = here.on_topic[FIRST.topic], here.table.feeds.get(KEY)
    return feed.health.rejections.named.total if feed else 0, traffic.rejections.total, traffic.strays.total


@pytest.mark.parametrize(
    ("content", "counted"),
    [
        (value()[:-1], (1, 1, 0)),
        (value().replace(b'"A"', b"7"), (1, 1, 0)),
        (value(symbols="A\n"), (1, 1, 0)),
        (value(symbols="ABCDE"), (1, 1, 0)),
        (value(OTHER)[:-1], (0, 1, 0)),
        (value(OTHER), (0, 1, 0)),
        (value(UNWANTED)[:-1], (0, 1, 0)),
        (value(KEY._replace(region="a b")), (0, 1, 1)),
        (b"\x1f\x8b\x08", (0, 1, 1)),
        (b"", (0, 1, 1)),
    ],
)
def test_a_rejection_counts_for_the_feed_that_it_names_or_else_for_its_topic(
    content: bytes, counted: tuple[int, int, int]
) -> None:
    """What names a feed that is not known makes none, and is nobody's."""
    here = owner(limits=Limits(feeds=1, symbols_per_feed=4))
    take(here, record(0), record(1, content))
    assert rejected_of(here) == counted
    assert list(here.table.feeds) == [KEY]


def test_batches_that_are_filtered_or_of_any_feed_are_something_valid_on_their_topic() -> None:
    for content, valid_ms in ((value(UNWANTED), NOW_MS), (value(OTHER), NOW_MS), (value()[:-1], 0)):
        here = owner()
        take(here, record(0, content))
        assert here.on_topic[FIRST.topic].valid_ms == valid_ms


def test_rejections_make_no_feed_and_are_few_in_memory() -> None:
    here = owner()
    take(here, *[record(n, value(KEY._replace(exchange=f"e{n}"))[:-1]) for n in range(500)])
    assert here.table.feeds == {}
    assert (rejected_of(here), here.partitions[FIRST].rejected_feeds) == ((0, 500, 0), set())


@pytest.mark.parametrize(
    ("position", "old_ms"), [(Position(1, 0, NOW_MS), 0), (START, 61_000)], ids=["published before", "old"]
)
def test_a_rejection_that_is_no_news_counts_for_nobody(position: Position, old_ms: int) -> None:
    """It was published before, or lay there for longer than the live age."""
    here = owner(position)
    here.table.expect(KEY)
    take(here, record(0, value()[:-1]), now_ms=NOW_MS + old_ms)
    assert rejected_of(here) == (0, 0, 0)


def test_a_redelivered_rejection_counts_once() -> None:
    here = owner()
    here.table.expect(KEY)
    take(here, record(0, value()[:-1]), record(1))
    here.release([FIRST])
    here.assign(FIRST, start(START, 2))
    take(here, record(0, value()[:-1]))
    assert rejected_of(here) == (0, 1, 0)


def test_with_its_partition_goes_what_was_rejected_of_a_feed_that_never_had_a_batch() -> None:
    here = owner()
    here.table.expect(KEY)
    feed = here.table.feeds[KEY]
    take(here, record(0, value()[:-1]))
    assert (feed.is_here, feed.partitions, feed.rejected_on) == (True, set(), {FIRST})
    here.release([FIRST])
    assert not feed.is_here
    assert rejected_of(here)[0] == 0


def test_of_each_topic_and_reason_one_rejection_is_to_be_logged_in_five_minutes() -> None:
    """With how many were not; also those that are old, but none that was published before."""
    here = owner(Position(1, 0, NOW_MS))
    take(here, *[record(offset, value()[:-1]) for offset in range(4)], record(4, b""))
    first = here.rejection_log.take()
    assert [(each.record.offset, each.rejected.reason, each.suppressed) for each in first] == [
        (1, Reason.INVALID_JSON, 0),
        (4, Reason.EMPTY, 0),
    ]
    assert [each.rejected.feed for each in first] == [KEY, None]
    take(here, record(5, b"{"), now_ms=NOW_MS + 299_000)
    assert here.rejection_log.take() == []
    take(here, record(6, b"{"), now_ms=NOW_MS + 300_000)
    assert [(each.record.offset, each.suppressed) for each in here.rejection_log.take()] == [(6, 3)]


def test_what_comes_is_told_of_topics_of_ours_only() -> None:
    here = owner()
    take(here, record(0), record(1, b"{"))
    assert {topic: traffic.rejected_ratio for topic, traffic in here.traffic(NOW_MS).items()} == {FIRST.topic: 0.5}
    here.release([FIRST])
    assert here.traffic(NOW_MS) == {}


def test_without_batch_events_positions_and_summaries_go_on() -> None:
    here = owner(batch_events=False)
    dispatch = take(here, record(0), record(1, b"{"))
    assert {kind: count for kind, count in dispatch.counts.items() if count} == {EventType.ERROR: 1}
    assert dispatch.positions == {FIRST: Position(2, 0, NOW_MS)}
    assert totals(here.summarize([FIRST], NOW_MS)) == {"upbit": 1}


# Summaries and ownership.


def test_a_summary_covers_a_feed_on_all_its_partitions_once() -> None:
    here = owner()
    here.assign(SECOND, start(Position(0, 0, NOW_MS - 20_000), 1))
    take(here, record(0), record(1, value(OTHER)), record(0, partition=SECOND))
    dispatch = here.summarize([FIRST, SECOND], NOW_MS + 30_000)
    assert totals(dispatch) == {"upbit": 2, "bithumb": 1}
    assert dispatch.positions == {FIRST: Position(2, 2, NOW_MS + 30_000), SECOND: Position(1, 1, NOW_MS + 30_000)}
    elapsed = [summary["aggregated_stats"]["elapsed_seconds"] for summary in told(dispatch, EventType.SUMMARY)]
    assert elapsed == [50.0, 30.0]
    assert totals(here.summarize([FIRST, SECOND], NOW_MS)) == {"upbit": 0, "bithumb": 0}


def test_a_feed_shows_last_values_until_its_last_partition_goes() -> None:
    here = owner()
    here.assign(SECOND, start(START, 1))
    take(here, record(0), record(0, partition=SECOND))
    feed = here.table.feeds[KEY]
    assert feed.partitions == {FIRST, SECOND}
    here.release([FIRST])
    assert feed.partitions == {SECOND}
    here.release([SECOND])
    assert feed.partitions == set()
    assert (feed.batches, list(here.partitions)) == (2, [])


def test_a_feed_comes_back_with_its_partition_and_its_next_record() -> None:
    here = owner()
    take(here, record(0))
    here.release([FIRST])
    here.assign(FIRST, start(Position(1, 1, NOW_MS), 1))
    assert here.summarize([FIRST], NOW_MS).events == []
    take(here, record(1))
    assert here.table.feeds[KEY].partitions == {FIRST}
    assert here.table.feeds[KEY].batches == 2


def test_what_cannot_be_read_is_stepped_over_once() -> None:
    """The position moves behind it, with an error event; what was counted is not counted again."""
    here = pipeline()
    here.assign(FIRST, start(START, 20))
    take(here, record(0))
    dispatch = here.step_over(FIRST, 1, 8, NOW_MS)
    assert dispatch.positions[FIRST].offset == 8
    assert [json.loads(event.body)["offset"] for event in dispatch.events] == [1]
    assert "records lost: 7" in json.loads(dispatch.events[0].body)["message"]
    assert (here.topic(FIRST.topic).unreadable, here.topic(FIRST.topic).lost) == (7, 0)
    assert not here.step_over(FIRST, 1, 8, NOW_MS)
    take(here, record(8))
    assert here.topic(FIRST.topic).records == 2


def test_place_that_is_met_again_while_warming_up_is_not_told_again() -> None:
    """It was published before this process began; where it goes on behind that, the rest is counted."""
    here = pipeline()
    here.assign(FIRST, Start(Position(8, 8, NOW_MS), 0, 20))
    dispatch = here.step_over(FIRST, 1, 8, NOW_MS)
    assert (dispatch.events, dispatch.positions[FIRST].offset) == ([], 8)
    assert here.topic(FIRST.topic).unreadable == 0
    assert len(here.step_over(FIRST, 8, 12, NOW_MS).events) == 1
    assert here.topic(FIRST.topic).unreadable == 4


def test_place_of_a_partition_that_came_back_is_told_again_but_counted_once() -> None:
    """Its event may have been dropped with the partition."""
    here = pipeline()
    here.assign(FIRST, start(START, 20))
    here.step_over(FIRST, 0, 8, NOW_MS)
    here.release([FIRST])
    here.assign(FIRST, start(START, 20))
    assert len(here.step_over(FIRST, 0, 8, NOW_MS).events) == 1
    assert here.topic(FIRST.topic).unreadable == 8
    assert here.topic(FIRST.topic).resets[ResetCause.RECORDS_UNREADABLE] == 1


def test_place_of_a_partition_that_is_gone_is_nothing_to_tell() -> None:
    assert not pipeline().step_over(FIRST, 0, 8, NOW_MS)
