"""The age of each message when its batch was sent is in the histogram, and none that would be negative."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.analyzers.message_age import AGE_BOUNDS_MS, MessageAge
from exporter.decoding.batch import MAX_TIMESTAMP_MS, MIN_TIMESTAMP_MS
from exporter.model import FeedKey
from tests.support.batches import NOW_MS, Observed, captured_batches, kept, message, observed, stamps_of
from tests.support.captures import each_capture


def expected_ages(many: Iterable[Observed]) -> tuple[list[int], float, int]:
    """Buckets, sum and what is newer than its batch, the plain way."""
    buckets, total, newer = [0] * (len(AGE_BOUNDS_MS) + 1), 0.0, 0
    for one in many:
        sent = one.batch.timestamp_ms
        for stamp in stamps_of(one.batch):
            if sent < MIN_TIMESTAMP_MS or not MIN_TIMESTAMP_MS <= stamp <= MAX_TIMESTAMP_MS or not one.arrival.is_live:
                continue
            newer += stamp >= sent + 1
            if stamp < sent + 1:
                buckets[bisect_left(AGE_BOUNDS_MS, sent - stamp)] += 1
                total += max(sent - stamp, 0)
    return buckets, total, newer


STAMPS: st.SearchStrategy[float | None] = st.one_of(
    st.none(),
    st.sampled_from([0, -5, MIN_TIMESTAMP_MS, *(NOW_MS - bound for bound in AGE_BOUNDS_MS)]),
    st.integers(NOW_MS - 20_000, NOW_MS + 2000),
    st.floats(NOW_MS - 1000, NOW_MS + 1000),
    st.floats(NOW_MS, NOW_MS + 1),
)
OBSERVED = st.builds(
    lambda stamps, sent, live: observed(*(message(stamp=stamp) for stamp in stamps), sent=sent, live=live),
    st.lists(STAMPS, max_size=30),
    st.sampled_from([NOW_MS, NOW_MS, NOW_MS - 500, 0, 1_760_031_213]),
    st.sampled_from([True, True, False]),
)


@given(st.lists(OBSERVED, max_size=6))
def test_every_age_is_in_the_bucket_that_bisection_finds(many: list[Observed]) -> None:
    ages = MessageAge()
    for one in many:
        ages.observe(*one)
    buckets, total, newer = expected_ages(many)
    assert (kept(ages.histogram).buckets, ages.newer) == (buckets, newer)
    assert kept(ages.histogram).sum == pytest.approx(total, abs=0.1)


@each_capture
def test_the_ages_of_captured_traffic_are_those_of_a_recount(name: str) -> None:
    feeds: dict[FeedKey, MessageAge] = defaultdict(MessageAge)
    seen: dict[FeedKey, list[Observed]] = defaultdict(list)
    for feed, one in captured_batches(name):
        feeds[feed].observe(*one)
        seen[feed].append(one)
    for feed, ages in feeds.items():
        assert (kept(ages.histogram).buckets, kept(ages.histogram).sum, ages.newer) == expected_ages(seen[feed])
        assert kept(ages.histogram).count == sum(len(one.batch.data) for one in seen[feed])
