"""What lies long before the newest is past, while news comes; then it is all there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.feeds.feed_analyzers import EventTimeWatermark
from tests.support.batches import NOW_MS

PAST_MS, PATIENCE_MS = 60_000, 90_000


def order(event_time_ms: float = NOW_MS, received_ms: int = NOW_MS) -> EventTimeWatermark:
    """The watermark of a feed with data of this time."""
    order = EventTimeWatermark(PAST_MS)
    assert order.is_on_time(event_time_ms, received_ms)
    return order


@pytest.mark.parametrize(("before_ms", "is_on_time"), [(PAST_MS + 1, False), (PAST_MS, True), (0, True), (-1, True)])
def test_past_is_what_lies_long_before_the_newest(before_ms: int, is_on_time: bool) -> None:
    assert order().is_on_time(NOW_MS - before_ms, NOW_MS + 1) == is_on_time


def test_late_data_does_not_move_the_watermark() -> None:
    feed = order()
    assert not any(feed.is_on_time(NOW_MS - 86_400_000 + n, NOW_MS + n) for n in range(100))
    assert feed.is_on_time(NOW_MS + 1, NOW_MS + 100)
    assert not feed.is_on_time(NOW_MS - PAST_MS, NOW_MS + 101)


def test_a_stamp_of_the_future_makes_nothing_else_past() -> None:
    assert order(NOW_MS + 86_400_000).is_on_time(NOW_MS - PAST_MS, NOW_MS + 1)


@pytest.mark.parametrize("patience_ms", [1000, PATIENCE_MS])
def test_when_no_news_comes_the_past_becomes_the_newest(patience_ms: int) -> None:
    """After the longer of the two times; from then on it is followed."""
    feed, event_time_ms, wait_ms = order(), NOW_MS - 86_400_000, max(patience_ms, PAST_MS)
    assert not feed.turns_back(event_time_ms, NOW_MS + wait_ms, patience_ms)
    assert feed.turns_back(event_time_ms, NOW_MS + wait_ms + 1, patience_ms)
    assert feed.is_on_time(event_time_ms, NOW_MS + wait_ms + 2)
    assert not feed.is_on_time(event_time_ms - PAST_MS - 1, NOW_MS + wait_ms + 3)


def test_when_our_own_clock_is_set_back_nothing_has_to_wait() -> None:
    assert order().turns_back(NOW_MS - 86_400_000, NOW_MS - 86_400_000, PATIENCE_MS)


@given(st.lists(st.integers(0, PAST_MS)))
def test_a_feed_that_goes_on_is_always_news(steps: list[int]) -> None:
    """However far its batches are shuffled within the limit."""
    feed, newest_ms = order(), NOW_MS
    for step in steps:
        newest_ms += step
        assert feed.is_on_time(newest_ms, newest_ms)
        assert feed.is_on_time(newest_ms - step, newest_ms)


def test_another_limit_holds_for_what_is_known_already() -> None:
    feed, late_ms = order(), PAST_MS // 2
    feed.allow(late_ms)
    assert feed.is_on_time(NOW_MS - late_ms, NOW_MS)
    assert not feed.is_on_time(NOW_MS - late_ms - 1, NOW_MS)
    feed.allow(PAST_MS)
    assert feed.is_on_time(NOW_MS - PAST_MS, NOW_MS)
    assert not feed.is_on_time(NOW_MS - PAST_MS - 1, NOW_MS)
