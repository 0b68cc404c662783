"""How long batches take from clock to clock: only what took a time is in a histogram, the rest is counted."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.analyzers.latency import LATENCY_BOUNDS_MS, RECENT_HOPS, Hop, Latency, Stage
from exporter.decoding.batch import MAX_TIMESTAMP_MS, MIN_TIMESTAMP_MS, Batch, Message
from exporter.decoding.batch_stats import BatchStats
from exporter.model import FeedKey
from tests.support.batches import FEED, NOW_MS, Observed, captured_batches, kept, message, observed, stamps_of
from tests.support.captures import capture, each_capture

STAMPS: st.SearchStrategy[float | None] = st.one_of(
    st.none(),
    st.sampled_from([0, -1, 1_760_031_213, 1_760_031_213_693_000, MIN_TIMESTAMP_MS, MAX_TIMESTAMP_MS]),
    st.integers(NOW_MS - 100_000, NOW_MS + 100_000),
    st.floats(NOW_MS - 100, NOW_MS + 100),
)
CLOCKS = st.sampled_from([0, 5, 1_760_031_213]) | st.integers(NOW_MS - 200_000, NOW_MS + 200_000)
OBSERVED = st.builds(
    lambda stamps, sent, recorded, received, live: observed(
        *(message(stamp=stamp) for stamp in stamps), sent=sent, recorded=recorded, received=received, live=live
    ),
    st.lists(STAMPS, max_size=5),
    CLOCKS,
    CLOCKS,
    st.integers(NOW_MS - 200_000, NOW_MS + 200_000),
    st.booleans(),
)


def latency(*all_observed: Observed) -> Latency:
    """What was observed of the batches."""
    made = Latency()
    for one in all_observed:
        made.observe(*one)
    return made


def expected_hops(one: Observed) -> dict[Stage, float]:
    """The stages of a batch, the plain way."""
    sent = one.batch.timestamp_ms if one.batch.timestamp_ms >= MIN_TIMESTAMP_MS else None
    recorded = one.arrival.record_ms if one.arrival.record_ms >= MIN_TIMESTAMP_MS else None
    newest = max((int(s) for s in stamps_of(one.batch) if MIN_TIMESTAMP_MS <= s <= MAX_TIMESTAMP_MS), default=None)
    ends = {
        Stage.EXCHANGE_TO_COLLECTOR: (newest, sent),
        Stage.COLLECTOR_TO_BROKER: (sent, recorded),
        Stage.BROKER_TO_SIDECAR: (recorded, one.arrival.received_ms),
        Stage.END_TO_END: (newest, one.arrival.received_ms),
    }
    return {stage: end - start for stage, (start, end) in ends.items() if start is not None and end is not None}


def test_each_stage_ends_where_the_next_begins() -> None:
    rows = [message("A", NOW_MS - 400), message("B", NOW_MS - 30), message("C", 0)]
    hops = latency(observed(*rows, sent=NOW_MS, recorded=NOW_MS + 7, received=NOW_MS + 107)).hops
    assert {stage.value: kept(hop.histogram).sum for stage, hop in hops.items()} == {
        "exchange_to_collector": 30,
        "collector_to_broker": 7,
        "broker_to_sidecar": 100,
        "end_to_end": 137,
    }


@given(st.lists(OBSERVED, max_size=20))
def test_every_hop_of_a_live_batch_is_in_its_bucket_or_counted_as_skew(many: list[Observed]) -> None:
    taken = defaultdict(list)
    for one in many:
        for stage, hop in (expected_hops(one) if one.arrival.is_live else {}).items():
            taken[stage].append(hop)
    made = latency(*many)
    for stage, found in made.hops.items():
        positive = [hop for hop in taken[stage] if hop >= 0]
        buckets = [0] * (len(LATENCY_BOUNDS_MS) + 1)
        for hop in positive:
            buckets[bisect_left(LATENCY_BOUNDS_MS, hop)] += 1
        assert kept(found.histogram).buckets == buckets
        assert kept(found.histogram).sum == pytest.approx(sum(positive))
        assert found.skewed == len(taken[stage]) - len(positive)
    assert made.catch_up == sum(not one.arrival.is_live for one in many)


def test_stamps_of_the_same_millisecond_are_no_skew() -> None:
    made = latency(observed(message(stamp=NOW_MS + 0.9), sent=NOW_MS, recorded=NOW_MS, received=NOW_MS))
    assert {stage: hop.skewed for stage, hop in made.hops.items()} == dict.fromkeys(Stage, 0)


def test_batches_read_late_are_only_counted() -> None:
    made = latency(*[observed(message(stamp=NOW_MS - 86_400_000), received=NOW_MS, live=False)] * 3)
    assert made.catch_up == 3
    assert not any(kept(hop.histogram).count or hop.skewed for hop in made.hops.values())


def test_a_stage_with_an_unknown_end_is_not_observed() -> None:
    made = latency(observed(message(stamp=None), recorded=0, received=NOW_MS + 30), observed())
    observations = {stage: kept(hop.histogram).count for stage, hop in made.hops.items()}
    assert observations == {**dict.fromkeys(Stage, 0), Stage.COLLECTOR_TO_BROKER: 1, Stage.BROKER_TO_SIDECAR: 1}
    assert made.skipped == 0


@pytest.mark.parametrize("stamp", [-1, 1_760_031_213, 1_760_031_213_693_000, 1e18])
def test_a_stamp_that_cannot_be_a_time_is_skipped_and_counted(stamp: float) -> None:
    """Such as one in seconds or microseconds."""
    made = latency(observed(message(stamp=stamp), message(stamp=NOW_MS - 40)))
    assert made.skipped == 1
    assert kept(made.hops[Stage.EXCHANGE_TO_COLLECTOR].histogram).sum == 40


def test_a_batch_stamp_in_seconds_leaves_the_stages_that_do_without_it() -> None:
    made = latency(observed(message(stamp=NOW_MS - 40), sent=NOW_MS // 1000, recorded=NOW_MS, received=NOW_MS + 5))
    assert [kept(hop.histogram).count for hop in made.hops.values()] == [0, 0, 1, 1]
    assert made.skipped == 1


# Skew.


def test_the_skew_is_how_far_the_later_clock_is_behind() -> None:
    ahead = [observed(sent=NOW_MS + 90_000, recorded=NOW_MS + n, received=NOW_MS + n) for n in range(RECENT_HOPS)]
    made = latency(*ahead)
    assert made.hops[Stage.COLLECTOR_TO_BROKER].skew_seconds == pytest.approx(90, abs=0.02)
    assert made.hops[Stage.BROKER_TO_SIDECAR].skew_seconds == 0


def test_the_skew_ends_when_the_clock_is_right_again() -> None:
    hop = Hop()
    for taken in [-90_000] * 100 + [20] * (RECENT_HOPS // 2 + 1):
        hop.add_hop(taken)
    assert hop.skew_seconds == 0
    assert hop.skewed == 100


@given(st.lists(st.floats(-1e6, 1e6), max_size=40))
def test_the_skew_is_the_median_of_the_last_hops_if_that_is_negative(hops: list[float]) -> None:
    """So a minority of odd ones neither makes one up nor hides one."""
    hop = Hop()
    for taken in hops:
        hop.add_hop(taken)
    recent = ([0.0] * RECENT_HOPS + hops)[-RECENT_HOPS:]
    assert hop.skew_seconds == max(0.0, -median(recent) / 1000)


@given(st.lists(st.floats(-1e6, 1e6), max_size=200))
def test_memory_for_hops_is_bounded(hops: list[float]) -> None:
    hop = Hop()
    for taken in hops:
        hop.add_hop(taken)
        assert len(hop._recent or ()) <= RECENT_HOPS
    assert len(kept(hop.histogram).buckets) == len(LATENCY_BOUNDS_MS) + 1


@each_capture
def test_captured_traffic_has_no_skew_and_no_insane_stamp(name: str) -> None:
    feeds: dict[FeedKey, Latency] = defaultdict(Latency)
    for feed, one in captured_batches(name):
        feeds[feed].observe(*one)
    assert {str(feed) for feed in feeds} == capture(name).truth.keys()
    for made in feeds.values():
        assert made.skipped == made.catch_up == 0
        assert not any(hop.skewed for hop in made.hops.values())


# What is measured of a batch.


@given(st.lists(STAMPS, max_size=30))
def test_stamps_are_those_that_can_be_times_oldest_first(stamps: list[float | None]) -> None:
    rows = [Message("A", stamp) for stamp in stamps]
    stats = BatchStats(Batch(FEED.exchange, FEED.region, FEED.request_type, NOW_MS, rows))
    plausible = sorted(stamp for stamp in stamps if stamp and MIN_TIMESTAMP_MS <= stamp <= MAX_TIMESTAMP_MS)
    assert stats.stamps == plausible
    assert stats.stamp_sum == sum(plausible)
    assert stats.implausible == sum(bool(stamp) for stamp in stamps) - len(plausible)
